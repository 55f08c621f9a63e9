"""Targets and loss of the keypoint head (Mask R-CNN, arXiv 1703.06870, section 5).

Shapes: K proposals of one image, N positives of all images, P points, S side of the heat maps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.keypoint import keypoints_to_heat_map

_IGNORED = -1


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
    def __call__(self, proposals: Sequence[BoxList], targets: Sequence[BoxList]) -> KeypointTargets:
        """Targets of the drawn positives; all other proposals are left out.

        Args:
            proposals: one BoxList an image, px of the resized image.
            targets: one BoxList an image with the fields `labels` and `keypoints`.
        """
        matched = [self._match(*pair) for pair in zip(proposals, targets, strict=True)]
        drawn_per_image, _ = self.sampler([labels for labels, _ in matched])
        positives, heatmaps, indices = [], [], []
        num_before = 0
        for boxes, target, drawn, (_, truth_inds) in zip(
            proposals, targets, drawn_per_image, matched, strict=True
        ):
            inds = torch.nonzero(drawn).squeeze(1)
            indices.append(inds + num_before)
            num_before += len(boxes)
            positives.append(boxes[inds].copy_with_fields([]))
            points = target.get_field("keypoints").keypoints[truth_inds[inds]]
            corners = boxes.convert("xyxy").bbox[inds]
            heatmaps.append(keypoints_to_heat_map(points, corners, self.heatmap_side))
        return KeypointTargets(
            proposals=positives,
            cells=torch.cat([heatmap.indices for heatmap in heatmaps]),
            valid=torch.cat([heatmap.valid for heatmap in heatmaps]),
            indices=torch.cat(indices),
        )

    def _match(self, proposals: BoxList, target: BoxList) -> tuple[Tensor, Tensor]:
        """Labels (K,), -1 where a proposal is ignored, and indices (K,) of ground truths."""
        matches = self.matcher(boxlist_iou(target, proposals))
        labels = torch.zeros_like(matches)
        labels[matches == Matcher.BETWEEN_THRESHOLDS] = _IGNORED
        is_matched = matches >= 0
        truth_inds = matches[is_matched]
        truth_labels = target.get_field("labels").to(labels)
        truth_labels = truth_labels.masked_fill(~_has_points(target), _IGNORED)
        labels[is_matched] = truth_labels[truth_inds]
        return labels, matches


def _has_points(target: BoxList) -> Tensor:
    """(G,) bool: ground truths with an annotated point inside their box."""
    points = target.get_field("keypoints").keypoints
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
