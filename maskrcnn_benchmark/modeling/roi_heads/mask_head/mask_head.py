"""The mask head: features, logits, then a loss or masks.

Shapes: R rois, F feature channels, M mask side.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import NotYetAvailableError
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.mask_head.feature_extractors import (
    build_roi_mask_feature_extractor,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import attach_masks
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
        detections: in evaluation with the field `mask`, (K, 1, M, M) probabilities.
        losses: `loss_mask` in training, else empty.
        maskiou: inputs of the mask-IoU head.
    """

    detections: list[BoxList]
    losses: dict[str, Tensor]
    maskiou: MaskIoUInputs


class ROIMaskHead(nn.Module):
    """Segments the object in every box.

    Args:
        feature_extractor: maps and boxes -> MaskFeatures.
        predictor: features and labels -> logits (R, M, M) of each roi's own class.
        assigner: proposals and ground truth -> MaskTargets.
    """

    def __init__(
        self, *, feature_extractor: nn.Module, predictor: nn.Module, assigner: MaskTargetAssigner
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.assigner = assigner

    def forward(
        self,
        features: Sequence[Tensor],
        proposals: list[BoxList],
        targets: Sequence[BoxList] | None = None,
    ) -> MaskHeadOutput:
        """Losses in training with `targets`, masks otherwise.

        Args:
            features: pyramid maps, finest first.
            proposals: one BoxList an image with the field `labels`, px of the resized image.
            targets: one BoxList an image with the fields `labels` and `masks`.
        """
        if self.training and targets is not None:
            return self._train(features, self.assigner(proposals, targets))
        pooled, mask_features = self.feature_extractor(features, proposals)
        labels = torch.cat([boxes.get_field("labels") for boxes in proposals])
        detections = attach_masks(proposals, self.predictor(mask_features, labels))
        masks = torch.cat([boxes.get_field("mask") for boxes in detections])
        maskiou = MaskIoUInputs(pooled=pooled, masks=masks, labels=labels, targets=None)
        return MaskHeadOutput(detections=detections, losses={}, maskiou=maskiou)

    def _train(self, features: Sequence[Tensor], targets: MaskTargets) -> MaskHeadOutput:
        # UPSTREAM(matched-only): the original runs the heads on all proposals, although only
        # the matched ones reach a loss; losses and gradients are the same.
        pooled, mask_features = self.feature_extractor(features, targets.proposals)
        class_logits = self.predictor(mask_features, targets.labels)
        maskiou = MaskIoUInputs(
            pooled=pooled,
            masks=class_logits.sigmoid()[:, None],
            labels=targets.labels,
            targets=targets,
        )
        losses = {"loss_mask": mask_loss(class_logits, targets.masks)}
        return MaskHeadOutput(detections=targets.proposals, losses=losses, maskiou=maskiou)


def build_roi_mask_head(cfg: CfgNode, in_channels: int) -> ROIMaskHead:
    """The mask head that MODEL.ROI_MASK_HEAD describes."""
    head = cfg.MODEL.ROI_MASK_HEAD
    if head.POSTPROCESS_MASKS:
        raise NotYetAvailableError(
            "MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS",
            needs="masks pasted by the model; evaluation and demo paste them in any case",
        )
    extractor = build_roi_mask_feature_extractor(cfg, in_channels)
    roi_heads = cfg.MODEL.ROI_HEADS
    return ROIMaskHead(
        feature_extractor=extractor,
        predictor=build_roi_mask_predictor(cfg, cast(int, extractor.out_channels)),
        assigner=MaskTargetAssigner(
            matcher=Matcher(roi_heads.FG_IOU_THRESHOLD, roi_heads.BG_IOU_THRESHOLD),
            mask_side=head.RESOLUTION,
        ),
    )
