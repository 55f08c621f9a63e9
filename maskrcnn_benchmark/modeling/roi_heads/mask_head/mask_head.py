"""The mask head: features, logits, then a loss or masks.

Shapes: R rois, K boxes of one image, C classes, M mask side, H x W image.
"""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import (
    ROI_HEADS,
    ROI_MASK_FEATURE_EXTRACTORS,
    ROI_MASK_PREDICTOR,
    accepts,
)
from maskrcnn_benchmark.modeling.roi_heads.head import (
    MaskPrediction,
    ROIHead,
    RoiInputs,
    RoiOutput,
    in_groups,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head import feature_extractors, predictors  # noqa: F401  # registers them
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import (
    PASTES,
    Masker,
    attach_masks,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.loss import MaskTargetAssigner, mask_loss
from maskrcnn_benchmark.modeling.roi_heads.parts import make_extractor
from maskrcnn_benchmark.modeling.targets import cat_images
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste_rules import PasteRule


class ROIMaskHead(ROIHead):
    """Segments the object in every box.

    Args:
        feature_extractor: maps and boxes -> features of each roi.
        predictor: features and labels -> logits (R, M, M) of each roi's own class; or, as scripts
            have it, features -> those of all classes, (R, C, M, M).
        assigner: proposals and ground truth -> MaskTargets.
        shares_box_features: the extractor is the box head's, whose features are taken in training.
        masker: pastes the masks into images of the resized size in evaluation, or None.
        paste: how masks become pixels where that is not what boxes have by themselves, or None.
    """

    def __init__(
        self,
        *,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        assigner: MaskTargetAssigner,
        shares_box_features: bool = False,
        masker: Masker | None = None,
        paste: PasteRule | None = None,
    ) -> None:
        super().__init__(
            feature_extractor=feature_extractor,
            predictor=predictor,
            shares_box_features=shares_box_features,
        )
        self.assigner = assigner
        self.masker = masker
        self.paste = paste
        self.predictor_takes_labels = accepts(predictor.forward, 2)

    def forward(self, inputs: RoiInputs) -> RoiOutput:
        """``loss_mask``, or the boxes with the field ``mask``: (K, 1, M, M) or pasted (K, 1, H, W).

        Boxes need the field ``labels`` where masks are wanted, targets ``labels`` and ``masks``.
        Leaves a ``MaskPrediction``, of the matched proposals if there are targets.
        """
        if inputs.targets is None:
            parts = [self._segmented(inputs, boxes) for boxes in in_groups(inputs.boxes)]
            logits, pooled, labels = (torch.cat(each) for each in zip(*parts, strict=True))
            detections = attach_masks(inputs.boxes, logits, self.masker, self.paste)
            prediction = MaskPrediction(pooled, logits.sigmoid()[:, None], labels, None)
            return RoiOutput(detections, {}, {MaskPrediction: prediction})
        # UPSTREAM(matched-only): the original runs the heads on all proposals, although only
        # the matched ones reach a loss; losses and gradients are the same.
        targets = self.assigner(inputs.boxes, inputs.targets, inputs.device)
        features = self.extract(inputs, targets.proposals, targets.indices)
        logits = self._logits(features.encoded, targets.labels)
        masks = logits.sigmoid()[:, None]
        prediction = MaskPrediction(features.pooled, masks, targets.labels, targets)
        losses = {"loss_mask": mask_loss(logits, targets.masks)}
        return RoiOutput(inputs.boxes, losses, {MaskPrediction: prediction})

    def _segmented(self, inputs: RoiInputs, boxes: list[BoxList]) -> tuple[Tensor, Tensor, Tensor]:
        """Of some boxes logits (R, M, M), pooled maps (R, F, M / 2, M / 2) and labels (R,)."""
        labels = cat_images(
            [per_image.get_field("labels") for per_image in boxes],
            torch.zeros(0, dtype=torch.int64, device=inputs.device),
        )
        features = self.extract(inputs, boxes)
        return self._logits(features.encoded, labels), features.pooled, labels

    def _logits(self, encoded: Tensor, labels: Tensor) -> Tensor:
        """(R, M, M) of each roi's own class."""
        if self.predictor_takes_labels:
            logits: Tensor = self.predictor(encoded, labels)
            return logits
        rois = torch.arange(len(labels), device=labels.device)
        of_class: Tensor = self.predictor(encoded)[rois, labels]
        return of_class


@ROI_HEADS.register("mask")
def build_roi_mask_head(
    cfg: CfgNode,
    in_channels: int,
    spec: ArchitectureSpec,
    box_extractor: nn.Module | None = None,
) -> ROIMaskHead:
    """The mask head that MODEL.ROI_MASK_HEAD describes."""
    convention = Convention.from_config(cfg)
    rules = convention.roi
    head, roi_heads = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.ROI_HEADS
    max_positives = int(roi_heads.BATCH_SIZE_PER_IMAGE * roi_heads.POSITIVE_FRACTION)
    extractor = make_extractor(
        cfg, "ROI_MASK_HEAD", ROI_MASK_FEATURE_EXTRACTORS, in_channels, spec, box_extractor
    )
    masker = Masker(
        head.POSTPROCESS_MASKS_THRESHOLD, paste=rules.paste, clips=convention.clips_detections
    )
    return ROIMaskHead(
        feature_extractor=extractor,
        predictor=ROI_MASK_PREDICTOR.build(head.PREDICTOR, cfg, extractor.out_channels, spec),
        assigner=MaskTargetAssigner(
            matcher=Matcher(roi_heads.FG_IOU_THRESHOLD, roi_heads.BG_IOU_THRESHOLD),
            mask_side=head.RESOLUTION,
            min_crop_side=rules.min_mask_side,
            max_matches=max_positives if rules.samples_positives else None,
        ),
        shares_box_features=extractor is box_extractor,
        masker=masker if head.POSTPROCESS_MASKS else None,
        paste=PASTES[rules.paste],
    )
