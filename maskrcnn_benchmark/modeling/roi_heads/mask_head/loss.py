"""Targets and loss of the mask head (Mask R-CNN, arXiv 1703.06870, section 3).

Shapes: P proposals matched to a ground truth, M mask side.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.mask_targets import crop_and_rasterize
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


class MaskTargets(NamedTuple):
    """What the matched proposals of a batch should predict.

    Attributes:
        proposals: the matched proposals of each image, field `labels` from the ground truth.
        instances: the ground-truth mask of each matched proposal, one item an image.
        labels: (P,) int64, over all images.
        masks: (P, M, M) float, 0 or 1, the ground truth cropped to the proposal.
        indices: (P,) int64 place of each matched proposal among all that went in, over all images.
    """

    proposals: list[BoxList]
    instances: list[SegmentationMask]
    labels: Tensor
    masks: Tensor
    indices: Tensor


class MaskTargetAssigner:
    """Matches proposals with ground truths and cuts the masks.

    Args:
        matcher: (G, K) IoUs -> index of each proposal's ground truth, negative without one.
        mask_side: M.
    """

    def __init__(self, *, matcher: Matcher, mask_side: int) -> None:
        self.matcher = matcher
        self.mask_side = mask_side

    @torch.no_grad()
    def __call__(self, proposals: Sequence[BoxList], targets: Sequence[BoxList]) -> MaskTargets:
        """Targets of the proposals that match; all others are left out.

        Args:
            proposals: one BoxList an image, px of the resized image.
            targets: one BoxList an image with the fields `labels` and `masks`.
        """
        matched: list[BoxList] = []
        instances: list[SegmentationMask] = []
        masks: list[Tensor] = []
        indices: list[Tensor] = []
        num_before = 0
        for boxes, target in zip(proposals, targets, strict=True):
            inds, positives, positive_instances = self._match(boxes, target)
            indices.append(inds + num_before)
            num_before += len(boxes)
            matched.append(positives)
            instances.append(positive_instances)
            crops = crop_and_rasterize(positive_instances, positives.bbox, self.mask_side)
            masks.append(crops.to(positives.bbox))
        return MaskTargets(
            proposals=matched,
            instances=instances,
            labels=torch.cat([boxes.get_field("labels") for boxes in matched]),
            masks=torch.cat(masks),
            indices=torch.cat(indices),
        )

    def _match(
        self, proposals: BoxList, target: BoxList
    ) -> tuple[Tensor, BoxList, SegmentationMask]:
        matches = self.matcher(boxlist_iou(target, proposals))
        positive_inds = torch.nonzero(matches >= 0).squeeze(1)
        truth_inds = matches[positive_inds]
        positives = proposals[positive_inds].copy_with_fields([])
        positives.add_field("labels", target.get_field("labels")[truth_inds].to(torch.int64))
        return positive_inds, positives, target.get_field("masks")[truth_inds]


def mask_loss(class_logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross entropy over all pixels; zero tied to the graph without rois.

    Args:
        class_logits: (P, M, M) logits of each roi's own class.
        masks: (P, M, M) targets, 0 or 1.
    """
    total = F.binary_cross_entropy_with_logits(class_logits, masks, reduction="sum")
    return total / max(class_logits.numel(), 1)
