"""Targets and loss of the keypoint head (Mask R-CNN, arXiv 1703.06870, section 5).

Shapes: K proposals of one image, N positives of all images, P points, S side of the heat maps.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.targets import IGNORED, batch_indices, cat_images, label_matches
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints, keypoints_to_heat_map

_NUM_POINTS: Final = len(PersonKeypoints.NAMES)


class KeypointTargets(NamedTuple):
    """The positives of a batch and the heat-map cells of their points.

    Attributes:
        proposals: the sampled positives of each image.
        cells: (N, P) int64 row * S + column of each point.
        valid: (N, P) bool: whether the point is annotated and inside its proposal.
        indices: (N,) int64 place of each positive among all that went in, over all images.
    """

    proposals: list[BoxList]
    cells: Tensor
    valid: Tensor
    indices: Tensor


class KeypointTargetAssigner:
    """Matches proposals with ground truths, draws positives and places their points.

    Args:
        matcher: (G, K) IoUs -> index of each proposal's ground truth, negative without one.
        sampler: labels of the images -> masks of drawn positives and negatives.
        heatmap_side: S.
    """

    def __init__(
        self, *, matcher: Matcher, sampler: BalancedPositiveNegativeSampler, heatmap_side: int
    ) -> None:
        self.matcher = matcher
        self.sampler = sampler
        self.heatmap_side = heatmap_side

    @torch.no_grad()
    def __call__(
        self,
        proposals: Sequence[BoxList],
        targets: Sequence[BoxList],
        device: torch.device | None = None,
    ) -> KeypointTargets:
        """Targets of the drawn positives; all other proposals are left out.

        Args:
            proposals: one BoxList an image, px of the resized image.
            targets: one BoxList an image with the fields ``labels`` and ``keypoints``.
            device: of the result where there are no images; None: the CPU.
        """
        matches, labels = [], []
        for boxes, target in zip(proposals, targets, strict=True):
            matches.append(self.matcher(boxlist_iou(target, boxes)))
            truth_labels = target.get_field("labels").masked_fill(~_has_points(target), IGNORED)
            labels.append(label_matches(matches[-1], truth_labels))
        drawn_masks, _ = self.sampler(labels)
        drawn = [torch.nonzero(mask).squeeze(1) for mask in drawn_masks]
        positives, heatmaps = [], []
        for boxes, target, match, inds in zip(proposals, targets, matches, drawn, strict=True):
            positives.append(boxes.copy_with_fields([]).convert("xyxy")[inds])
            points = _points(target)[match[inds]]
            heatmaps.append(keypoints_to_heat_map(points, positives[-1].bbox, self.heatmap_side))
        none = torch.zeros((0, _NUM_POINTS), dtype=torch.int64, device=device)
        cells = cat_images([heatmap.indices for heatmap in heatmaps], none)
        return KeypointTargets(
            proposals=positives,
            cells=cells,
            valid=cat_images([heatmap.valid for heatmap in heatmaps], none.bool()),
            indices=batch_indices(drawn_masks, cells.device),
        )


def _points(target: BoxList) -> Tensor:
    """(G, P, 3) ground-truth points; a target without objects may lack them."""
    if len(target) == 0 and not target.has_field("keypoints"):
        return target.bbox.new_zeros(0, _NUM_POINTS, 3)
    points: Tensor = target.get_field("keypoints").keypoints
    return points


def _has_points(target: BoxList) -> Tensor:
    """(G,) bool: ground truths with an annotated point inside their box."""
    points = _points(target)
    boxes = target.convert("xyxy").bbox[:, None]
    inside = (points[..., :2] >= boxes[..., :2]) & (points[..., :2] <= boxes[..., 2:])
    has_points: Tensor = (inside.all(dim=2) & (points[..., 2] > 0)).any(dim=1)
    return has_points


def keypoint_loss(logits: Tensor, cells: Tensor, valid: Tensor) -> Tensor:
    """Mean over all valid points of the cross entropy over cells; without any, a zero with a graph.

    Args:
        logits: (N, P, S, S).
        cells: (N, P) int64 row * S + column.
        valid: (N, P) bool.

    Raises:
        ValueError: numbers of points that differ.
    """
    if logits.shape[:2] != cells.shape:
        raise ValueError(
            f"the keypoint head predicts {logits.shape[1]} points "
            f"(MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES), the targets have {cells.shape[1]}"
        )
    total = F.cross_entropy(logits.flatten(2)[valid], cells[valid], reduction="sum")
    return total / valid.sum().clamp(min=1)
