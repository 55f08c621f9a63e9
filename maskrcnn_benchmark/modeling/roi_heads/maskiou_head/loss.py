"""Targets and loss of the mask-IoU head (Mask Scoring R-CNN, arXiv 1903.00241, section 3.2).

Shapes: R rois, M mask side.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import AreaRatioRule
from maskrcnn_benchmark.modeling.roi_heads.head import MaskTargets
from maskrcnn_benchmark.modeling.targets import cat_images
from maskrcnn_benchmark.structures.mask_targets import area_ratios, shoelace_ratios
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

_MASK_THRESHOLD = 0.5


def mask_iou(probs: Tensor, masks: Tensor, ratios: Tensor) -> Tensor:
    """IoU (R,) of predicted masks with whole objects, of which a part may lie outside the roi.

    Args:
        probs: (R, M, M) predicted probabilities, thresholded at 0.5.
        masks: (R, M, M) ground truth inside the roi, 0 or 1.
        ratios: (R,) area inside the roi / area of the whole object, in (0, 1].
    """
    predicted = (probs > _MASK_THRESHOLD).to(masks)
    overlap = (predicted * masks).sum(dim=(1, 2))
    whole_area = masks.sum(dim=(1, 2)) / ratios
    union = predicted.sum(dim=(1, 2)) + whole_area - overlap
    return overlap / union.clamp(min=1)


def l2_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Half the mean squared error over targets > 0; zero tied to the graph without any.

    Args:
        predicted: (R,) IoU of the roi's class.
        target: (R,) true IoU.
    """
    # UPSTREAM(only-positive-targets): masks that miss their object altogether teach nothing.
    difference = torch.where(target > 0, predicted - target, 0)
    return 0.5 * difference.square().sum() / (target > 0).sum().clamp(min=1)


AREA_RATIOS: Mapping[AreaRatioRule, Callable[[SegmentationMask, Tensor], Tensor]] = (
    MappingProxyType({"raster": area_ratios, "shoelace": shoelace_ratios})
)


class MaskIoULoss:
    """Teaches the predicted IoU of each roi's class.

    Args:
        weight: factor of the loss.
        ratios: (masks, boxes) -> the share of each object in its box, as ``area_ratios``.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        ratios: Callable[[SegmentationMask, Tensor], Tensor] = area_ratios,
    ) -> None:
        self.weight = weight
        self.ratios = ratios

    def __call__(self, predicted_iou: Tensor, masks: Tensor, targets: MaskTargets) -> Tensor:
        """The scalar loss.

        Args:
            predicted_iou: (R,) for each roi's class.
            masks: (R, 1, M, M) predicted probabilities.
            targets: ground truth of the rois.
        """
        target = self.compute_targets(masks, targets)
        return self.weight * l2_loss(predicted_iou, target)

    @torch.no_grad()
    def compute_targets(self, masks: Tensor, targets: MaskTargets) -> Tensor:
        """IoU (R,) of the predicted masks (R, 1, M, M) with the ground truth."""
        ratios = [
            self.ratios(instances, boxes.bbox)
            for instances, boxes in zip(targets.instances, targets.proposals, strict=True)
        ]
        of_all = cat_images(ratios, masks.new_zeros(0)).to(masks)
        return mask_iou(masks[:, 0], targets.masks, of_all)
