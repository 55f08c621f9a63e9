"""Greedy non-maximum suppression.

Shape symbols: K boxes. Two boxes overlap by the IoU of their areas (a box from x1 to x2 is
x2 - x1 + 1 wide, unless a pixel offset says otherwise); a box goes when its IoU with a kept box of
higher rank *exceeds* the threshold. Rank is by score, descending; of equal scores the lower index
ranks higher.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET


def _check(boxes: Tensor, scores: Tensor, **labels: Tensor) -> None:
    check_tensors(boxes=boxes, scores=scores, **labels)
    check_floating(boxes=boxes, scores=scores)
    check_shape("boxes", boxes, ("K", 4))
    for name, values in {"scores": scores, **labels}.items():
        if values.shape != boxes.shape[:1]:
            wanted = f"({boxes.shape[0]},), one value a box"
            raise ValueError(f"{name}: expected shape {wanted}, got {tuple(values.shape)}")


def _as_integers(labels: Tensor) -> Tensor:
    """int64 that are equal where the labels are."""
    # Scripts for the original hand over floats, of which 1.0 and 1.5 are two labels; 0.0 is -0.0.
    return (
        (labels.double() + 0.0).view(torch.int64) if labels.is_floating_point() else labels.long()
    )


def _as_inclusive(boxes: Tensor, pixel_offset: int) -> Tensor:
    """Boxes whose areas under the inclusive reading are those of ``boxes`` under another one."""
    if pixel_offset == LEGACY_PIXEL_OFFSET:
        return boxes
    # In float64 the shift is exact: a box without extent keeps an area of exactly 0.
    moved = boxes.detach().to(torch.float64, copy=True)
    moved[:, 2:] += pixel_offset - LEGACY_PIXEL_OFFSET
    return moved


def _keep(boxes: Tensor, scores: Tensor, labels: Tensor | None, threshold: float) -> Tensor:
    order = scores.detach().argsort(descending=True, stable=True)
    ranked_boxes = boxes.detach()[order]
    if ranked_boxes.dtype != torch.float64:
        ranked_boxes = ranked_boxes.float()
    ranked_labels = None if labels is None else labels[order]
    ranked_keep = torch.ops.centermask.nms_keep(ranked_boxes, ranked_labels, threshold)
    keep = torch.empty_like(ranked_keep)
    keep[order] = ranked_keep
    return keep


def _kept_indices(boxes: Tensor, scores: Tensor, labels: Tensor | None, threshold: float) -> Tensor:
    kept_inds: Tensor = _keep(boxes, scores, labels, threshold).nonzero().squeeze(1)
    return kept_inds


def nms(
    boxes: Tensor, scores: Tensor, threshold: float, pixel_offset: int = LEGACY_PIXEL_OFFSET
) -> Tensor:
    """Indices of the boxes that survive suppression, (kept,) int64, ascending (not by score).

    Args:
        boxes: (K, 4) floating, xyxy px. Half precision is compared in float32.
        scores: (K,) floating.
        threshold: largest IoU that two kept boxes may have, usually in [0, 1].
        pixel_offset: what a box adds to x2 - x1 to get its width.

    Raises:
        ValueError: shapes other than (K, 4) and (K,), boxes or scores that are not floating,
            tensors of several devices.

    Source: behaviour of maskrcnn-benchmark's CUDA operator.
    """
    # UPSTREAM(nms-strictly-above): the original suppressed at IoU > threshold on CUDA only, at >=
    # on the CPU.
    _check(boxes, scores)
    return _kept_indices(_as_inclusive(boxes, pixel_offset), scores, None, threshold)


def ml_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    threshold: float,
    pixel_offset: int = LEGACY_PIXEL_OFFSET,
) -> Tensor:
    """As ``nms``, but only boxes of equal ``labels``, (K,) integers, suppress each other.

    Source: "multi-label" suppression of FCOS (Tian et al. 2019), kept by CenterMask.
    """
    _check(boxes, scores, labels=labels)
    ranked = _as_inclusive(boxes, pixel_offset)
    return _kept_indices(ranked, scores, _as_integers(labels), threshold)


def nms_mask(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    threshold: float,
    pixel_offset: int = LEGACY_PIXEL_OFFSET,
) -> Tensor:
    """Which boxes survive, (K,) bool, without waiting for a GPU to say how many.

    Those that ``ml_nms`` returns, or without labels ``nms``.
    """
    if labels is None:
        _check(boxes, scores)
        return _keep(_as_inclusive(boxes, pixel_offset), scores, None, threshold)
    _check(boxes, scores, labels=labels)
    return _keep(_as_inclusive(boxes, pixel_offset), scores, _as_integers(labels), threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that survive class-wise suppression, (kept,) int64, best score first.

    As torchvision's function of this name, up to rounding: corners are edges, so that a box from x1
    to x2 is x2 - x1 wide, and the order is that of the scores. Else as ``ml_nms``, ``idxs`` being
    the labels.
    """
    _check(boxes, scores, idxs=idxs)
    kept_inds = _kept_indices(_as_inclusive(boxes, 0), scores, _as_integers(idxs), iou_threshold)
    return kept_inds[scores[kept_inds].argsort(descending=True, stable=True)]
