"""The mask-IoU head: a quality score for every mask (Mask Scoring R-CNN, arXiv 1903.00241).

Shapes: R rois, K boxes of one image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.registry import (
    ROI_HEADS,
    ROI_MASKIOU_FEATURE_EXTRACTORS,
    ROI_MASKIOU_PREDICTOR,
)
from maskrcnn_benchmark.modeling.roi_heads.head import (
    MaskPrediction,
    ROIHead,
    RoiInputs,
    RoiOutput,
)
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head import feature_extractors, predictors  # noqa: F401  # registers them
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.loss import AREA_RATIOS, MaskIoULoss
from maskrcnn_benchmark.structures.bounding_box import BoxList


class ROIMaskIoUHead(ROIHead):
    """Re-scores masks by their predicted IoU with the object.

    Args:
        feature_extractor: (roi features, masks) -> (R, features).
        predictor: (R, features) -> (R, classes).
        loss: predicted IoU, masks and targets -> scalar.
    """

    def __init__(
        self, *, feature_extractor: nn.Module, predictor: nn.Module, loss: MaskIoULoss
    ) -> None:
        super().__init__(feature_extractor=feature_extractor, predictor=predictor)
        self.loss = loss

    def forward(self, inputs: RoiInputs) -> RoiOutput:
        """``loss_maskiou``, or the boxes with the field ``mask_scores``.

        Works on the ``MaskPrediction`` that the mask head left, R rois over all images. Boxes need
        the field ``scores`` where mask scores are wanted.
        """
        mask: MaskPrediction = inputs.extras[MaskPrediction]
        # UPSTREAM(attached-inputs): through both of them the loss reaches mask head and backbone.
        all_iou: Tensor = self.predictor(self.feature_extractor(mask.pooled, mask.masks))
        rois = torch.arange(len(mask.labels), device=mask.labels.device)
        predicted_iou = all_iou[rois, mask.labels]
        if mask.targets is None:
            return RoiOutput(attach_scores(inputs.boxes, predicted_iou), {})
        loss = self.loss(predicted_iou, mask.masks, mask.targets)
        return RoiOutput(inputs.boxes, {"loss_maskiou": loss})


def attach_scores(detections: Sequence[BoxList], predicted_iou: Tensor) -> list[BoxList]:
    """The detections with the field ``mask_scores``: ``scores`` x predicted IoU, not clamped.

    Args:
        detections: one BoxList an image with the field ``scores``.
        predicted_iou: (R,) of all detections of all images, in their order.
    """
    sizes = [len(boxes) for boxes in detections]
    # UPSTREAM(unclamped-mask-scores): a linear layer predicts the IoU, which may leave [0, 1].
    return [
        boxes.with_field("mask_scores", boxes.get_field("scores") * iou)
        for boxes, iou in zip(detections, torch.split(predicted_iou, sizes), strict=True)
    ]


@ROI_HEADS.register("maskiou")
def build_roi_maskiou_head(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec
) -> ROIMaskIoUHead:
    """The mask-IoU head that MODEL.ROI_MASKIOU_HEAD describes.

    Raises:
        ConfigError: for masks that cannot be laid on the features they were made of.
    """
    head, mask_head = cfg.MODEL.ROI_MASKIOU_HEAD, cfg.MODEL.ROI_MASK_HEAD
    if mask_head.RESOLUTION != 2 * mask_head.POOLER_RESOLUTION:
        raise ConfigError(
            "MODEL.ROI_MASK_HEAD.RESOLUTION: MODEL.MASKIOU_ON needs masks twice as wide as the "
            f"pooled features, {2 * mask_head.POOLER_RESOLUTION}, got {mask_head.RESOLUTION}"
        )
    extractor = ROI_MASKIOU_FEATURE_EXTRACTORS.build(head.FEATURE_EXTRACTOR, cfg, in_channels, spec)
    return ROIMaskIoUHead(
        feature_extractor=extractor,
        predictor=ROI_MASKIOU_PREDICTOR.build(head.PREDICTOR, cfg, extractor.out_channels, spec),
        loss=MaskIoULoss(
            weight=cfg.MODEL.MASKIOU_LOSS_WEIGHT,
            ratios=AREA_RATIOS[Convention.from_config(cfg).roi.area_ratio],
        ),
    )
