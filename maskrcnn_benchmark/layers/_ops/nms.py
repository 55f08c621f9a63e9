"""Non-maximum suppression.

Shape symbols: K boxes.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_floating, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET

# Rows of the K x K overlap matrix made at a time: bounds the float temporaries at large K.
_IOU_ROWS = 1024


def _inclusive_areas(boxes: Tensor) -> Tensor:
    sides = boxes[:, 2:] - boxes[:, :2] + LEGACY_PIXEL_OFFSET
    return sides[:, 0] * sides[:, 1]


def _pairwise_iou(rows: Tensor, columns: Tensor) -> Tensor:
    top_left = torch.maximum(rows[:, None, :2], columns[None, :, :2])
    bottom_right = torch.minimum(rows[:, None, 2:], columns[None, :, 2:])
    sides = (bottom_right - top_left + LEGACY_PIXEL_OFFSET).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = _inclusive_areas(rows)[:, None] + _inclusive_areas(columns)[None, :] - intersection
    return intersection / union


def nms_keep(boxes: Tensor, labels: Tensor | None, threshold: float) -> Tensor:
    """Mask (K,) bool of the boxes that greedy suppression keeps.

    The greedy result is the only fixed point of "a box stays unless a kept earlier box suppresses
    it"; t rounds settle at least the first t boxes, and a handful of rounds is typical.

    Args:
        boxes: (K, 4) xyxy inclusive px, best score first.
        labels: (K,) integers, only equal labels suppress each other; None: all boxes compete.
        threshold: a box goes when its IoU with a kept earlier box exceeds this.
    """
    check_shape("boxes", boxes, (None, 4))
    check_floating("boxes", boxes)
    if labels is not None:
        check_shape("labels", labels, (len(boxes),))
        check_dtype("labels", labels, torch.int64)
    chunks = [_pairwise_iou(rows, boxes) > threshold for rows in torch.split(boxes, _IOU_ROWS)]
    suppresses = torch.cat(chunks).triu(diagonal=1)
    if labels is not None:
        suppresses &= labels[:, None] == labels[None, :]
    keep = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    while True:
        updated = ~(suppresses & keep[:, None]).any(dim=0)
        if torch.equal(updated, keep):
            return keep
        keep = updated


def _fake_keep(boxes: Tensor, *_: object) -> Tensor:
    return boxes.new_empty(boxes.shape[0], dtype=torch.bool)


OPERATORS = (
    Operator(
        name="nms_keep",
        schema="(Tensor boxes, Tensor? labels, float threshold) -> Tensor",
        reference=nms_keep,
        fake=_fake_keep,
        in_float32=True,  # areas leave the range of half precision
    ),
)
