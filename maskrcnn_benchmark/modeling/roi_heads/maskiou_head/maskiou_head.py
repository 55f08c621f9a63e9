"""The mask-IoU head: a quality score for every mask (Mask Scoring R-CNN, arXiv 1903.00241)."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode, ConfigError
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import MaskIoUInputs
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.feature_extractors import (
    build_roi_maskiou_feature_extractor,
)
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.loss import MaskIoULoss
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.predictors import (
    build_roi_maskiou_predictor,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList


class MaskIoUHeadOutput(NamedTuple):
    """Result of the mask-IoU head.

    Attributes:
        detections: in evaluation with the field `mask_scores`, (K,).
        losses: `loss_maskiou` in training, else empty.
    """

    detections: list[BoxList]
    losses: dict[str, Tensor]


class ROIMaskIoUHead(nn.Module):
    """Re-scores masks by their predicted IoU with the object.

    Args:
        feature_extractor: (roi features, masks) -> (R, features).
        predictor: (R, features) -> (R, classes).
        loss: predicted IoU, masks and targets -> scalar.
    """

    def __init__(
        self, *, feature_extractor: nn.Module, predictor: nn.Module, loss: MaskIoULoss
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.loss = loss

    def forward(self, inputs: MaskIoUInputs, detections: list[BoxList]) -> MaskIoUHeadOutput:
        """The loss where `inputs` has targets, else the detections with `mask_scores`.

        Args:
            inputs: what the mask head saw and predicted, R rois over all images.
            detections: one BoxList an image, R boxes in all, with the field `scores`.
        """
        # UPSTREAM(attached-inputs): through both of them the loss reaches mask head and backbone.
        all_iou = self.predictor(self.feature_extractor(inputs.pooled, inputs.masks))
        rois = torch.arange(len(inputs.labels), device=inputs.labels.device)
        predicted_iou = all_iou[rois, inputs.labels]
        if inputs.targets is not None:
            loss = self.loss(predicted_iou, inputs.masks, inputs.targets)
            return MaskIoUHeadOutput(detections=detections, losses={"loss_maskiou": loss})
        return MaskIoUHeadOutput(detections=attach_scores(detections, predicted_iou), losses={})


def attach_scores(detections: Sequence[BoxList], predicted_iou: Tensor) -> list[BoxList]:
    """The detections with the field `mask_scores`: `scores` x predicted IoU, not clamped.

    Args:
        detections: one BoxList an image with the field `scores`.
        predicted_iou: (R,) of all detections of all images, in their order.
    """
    results = []
    sizes = [len(boxes) for boxes in detections]
    for boxes, iou in zip(detections, torch.split(predicted_iou, sizes), strict=True):
        result = boxes.copy_with_fields(boxes.fields())
        # UPSTREAM(unclamped-mask-scores): a linear layer predicts the IoU, which may leave [0, 1].
        result.add_field("mask_scores", boxes.get_field("scores") * iou)
        results.append(result)
    return results


def build_roi_maskiou_head(cfg: CfgNode, in_channels: int) -> ROIMaskIoUHead:
    """The mask-IoU head that MODEL.ROI_MASKIOU_HEAD describes.

    Raises:
        ConfigError: for masks that cannot be laid on the features they were made of.
    """
    mask_head = cfg.MODEL.ROI_MASK_HEAD
    if mask_head.RESOLUTION != 2 * mask_head.POOLER_RESOLUTION:
        raise ConfigError(
            "MODEL.ROI_MASK_HEAD.RESOLUTION: MODEL.MASKIOU_ON needs masks twice as wide as the "
            f"pooled features, {2 * mask_head.POOLER_RESOLUTION}, got {mask_head.RESOLUTION}"
        )
    extractor = build_roi_maskiou_feature_extractor(cfg, in_channels)
    return ROIMaskIoUHead(
        feature_extractor=extractor,
        predictor=build_roi_maskiou_predictor(cfg, cast(int, extractor.out_channels)),
        loss=MaskIoULoss(weight=cfg.MODEL.MASKIOU_LOSS_WEIGHT),
    )
