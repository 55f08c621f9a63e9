"""The mask head: features, logits, then a loss or masks.

Shapes: R rois, F feature channels, M mask side.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import accepts
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor
from maskrcnn_benchmark.modeling.roi_heads.mask_head.feature_extractors import (
    build_roi_mask_feature_extractor,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import (
    Masker,
    attach_masks,
    paste_attached_masks,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.loss import (
    MaskTargetAssigner,
    MaskTargets,
    mask_loss,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.predictors import build_roi_mask_predictor
from maskrcnn_benchmark.structures.bounding_box import BoxList


class MaskIoUInputs(NamedTuple):
    """What the mask-IoU head needs of every roi.

    Attributes:
        pooled: (R, F, M / 2, M / 2) features of the roi.
        masks: (R, 1, M, M) probabilities of the roi's class.
        labels: (R,) int64.
        targets: ground truth of the rois in training, else None.
    """

    pooled: Tensor
    masks: Tensor
    labels: Tensor
    targets: MaskTargets | None


class MaskHeadOutput(NamedTuple):
    """Result of the mask head.

    Attributes:
        detections: what went in; in evaluation with the field `mask`, (K, 1, M, M) probabilities
            or (K, 1, H, W) pasted masks.
        losses: `loss_mask` in training, else empty.
        maskiou: inputs of the mask-IoU head.
    """

    detections: list[BoxList]
    losses: dict[str, Tensor]
    maskiou: MaskIoUInputs


class ROIMaskHead(nn.Module):
    """Segments the object in every box.

    Args:
        feature_extractor: maps and boxes -> features of each roi. One that is no
            ``ROIFeatureExtractor`` may return (features, pooled maps), as in the original.
        predictor: features and labels -> logits (R, M, M) of each roi's own class; or features
            alone -> logits of all classes (R, C, M, M), as in the original.
        assigner: proposals and ground truth -> MaskTargets.
        shares_box_features: the extractor is the box head's, whose features are taken in training.
        masker: pastes the masks into images of the resized size in evaluation, or None.
    """

    def __init__(
        self,
        *,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        assigner: MaskTargetAssigner,
        shares_box_features: bool = False,
        masker: Masker | None = None,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.assigner = assigner
        self.shares_box_features = shares_box_features
        self.masker = masker
        self.predictor_takes_labels = accepts(predictor.forward, 2)

    def forward(
        self,
        features: Sequence[Tensor],
        proposals: list[BoxList],
        targets: Sequence[BoxList] | None = None,
        box_features: Tensor | None = None,
    ) -> MaskHeadOutput:
        """Losses in training with `targets`, masks otherwise.

        Args:
            features: pyramid maps, finest first.
            proposals: one BoxList an image with the field `labels`, px of the resized image.
            targets: one BoxList an image with the fields `labels` and `masks`.
            box_features: the box head's features of the proposals; used in training where the
                extractor is shared.
        """
        if self.training and targets is not None:
            mask_targets = self.assigner(proposals, targets)
            losses, maskiou = self._train(features, mask_targets, box_features)
            return MaskHeadOutput(detections=proposals, losses=losses, maskiou=maskiou)
        pooled, encoded = self._extract(features, proposals)
        labels = torch.cat([boxes.get_field("labels") for boxes in proposals])
        logits = self._predict(encoded, labels)
        detections = attach_masks(proposals, logits)
        masks = torch.cat([boxes.get_field("mask") for boxes in detections])
        maskiou = MaskIoUInputs(pooled=pooled, masks=masks, labels=labels, targets=None)
        if self.masker is not None:
            detections = paste_attached_masks(detections, self.masker)
        return MaskHeadOutput(detections=detections, losses={}, maskiou=maskiou)

    def _train(
        self, features: Sequence[Tensor], targets: MaskTargets, box_features: Tensor | None
    ) -> tuple[dict[str, Tensor], MaskIoUInputs]:
        # UPSTREAM(matched-only): the original runs the heads on all proposals, although only
        # the matched ones reach a loss; losses and gradients are the same.
        if self.shares_box_features and box_features is not None:
            encoded = pooled = box_features[targets.indices]
        else:
            pooled, encoded = self._extract(features, targets.proposals)
        class_logits = self._predict(encoded, targets.labels)
        maskiou = MaskIoUInputs(
            pooled=pooled,
            masks=class_logits.sigmoid()[:, None],
            labels=targets.labels,
            targets=targets,
        )
        return {"loss_mask": mask_loss(class_logits, targets.masks)}, maskiou

    def _extract(
        self, features: Sequence[Tensor], proposals: list[BoxList]
    ) -> tuple[Tensor, Tensor]:
        """Pooled maps and features of all proposals."""
        extractor = self.feature_extractor
        if isinstance(extractor, ROIFeatureExtractor):
            pooled = extractor.pooler(features, proposals)
            return pooled, extractor.encode(pooled)
        extracted = extractor(features, proposals)
        encoded, pooled = extracted if isinstance(extracted, tuple) else (extracted, extracted)
        return pooled, encoded

    def _predict(self, encoded: Tensor, labels: Tensor) -> Tensor:
        """Logits (R, M, M) of each roi's own class."""
        if self.predictor_takes_labels:
            logits: Tensor = self.predictor(encoded, labels)
            return logits
        all_logits: Tensor = self.predictor(encoded)
        return all_logits[torch.arange(len(labels), device=labels.device), labels]


def build_roi_mask_head(
    cfg: CfgNode, in_channels: int, box_extractor: nn.Module | None = None
) -> ROIMaskHead:
    """The mask head that MODEL.ROI_MASK_HEAD describes.

    Args:
        cfg: settings.
        in_channels: channels of the maps.
        box_extractor: the box head's feature extractor, if the mask head is to share it.
    """
    head, roi_heads = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.ROI_HEADS
    extractor = box_extractor or build_roi_mask_feature_extractor(cfg, in_channels)
    return ROIMaskHead(
        feature_extractor=extractor,
        predictor=build_roi_mask_predictor(cfg, cast(int, extractor.out_channels)),
        assigner=MaskTargetAssigner(
            matcher=Matcher(roi_heads.FG_IOU_THRESHOLD, roi_heads.BG_IOU_THRESHOLD),
            mask_side=head.RESOLUTION,
        ),
        shares_box_features=box_extractor is not None,
        masker=Masker(head.POSTPROCESS_MASKS_THRESHOLD) if head.POSTPROCESS_MASKS else None,
    )
