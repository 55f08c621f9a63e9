"""How much boxes overlap whose corners are edges.

Shapes: K boxes of one kind, L of the other.
"""

import torch
from torch import Tensor


def pairwise_iou(one: Tensor, other: Tensor) -> Tensor:
    """(..., K, L) IoUs of boxes (..., K, 4) with (..., L, 4) xyxy; NaN for two without area."""
    overlaps = pairwise_intersection(one, other)
    union = (_areas(one)[..., :, None] + _areas(other)[..., None, :]).sub_(overlaps)
    return overlaps.div_(union)


def pairwise_intersection(one: Tensor, other: Tensor) -> Tensor:
    """(..., K, L) areas that boxes (..., K, 4) share with (..., L, 4) xyxy."""
    # A side at a time, so that of many boxes few matrices are kept.
    return _shared_sides(one, other, 0).mul_(_shared_sides(one, other, 1))


def _shared_sides(one: Tensor, other: Tensor, axis: int) -> Tensor:
    first = torch.maximum(one[..., :, None, axis], other[..., None, :, axis])
    last = torch.minimum(one[..., :, None, axis + 2], other[..., None, :, axis + 2])
    return last.sub_(first).clamp_(min=0)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
