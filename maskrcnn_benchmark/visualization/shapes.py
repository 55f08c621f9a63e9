"""The outlines that are painted: one small crop for each instance.

Shapes: K instances, M side of a predicted mask.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste import PastedMask, are_planes, paste_mask_in_box

MASK_THRESHOLD: Final = 0.5
"""Pixels above it belong to the instance."""


def instance_shapes(boxes: BoxList) -> list[PastedMask | None]:
    """The shape of each of the K instances, ``None`` where only a box is known.

    Args:
        boxes: with the field ``mask`` (predictions: (K, 1, M, M) probabilities inside the boxes, or
            (K, 1, H, W) masks of the whole image) or ``masks`` (ground truth:
            ``SegmentationMask``), or neither.
    """
    if boxes.has_field("mask"):
        return _predicted_shapes(boxes, boxes.get_field("mask").detach().cpu())
    if boxes.has_field("masks"):
        masks = boxes.get_field("masks")
        # One at a time: a stack of all of them would be as large as K photos.
        bitmaps = (masks[k].to_bitmasks()[0] for k in range(len(boxes)))
        return [_cropped(bitmap) for bitmap in bitmaps]
    return [None] * len(boxes)


def _predicted_shapes(boxes: BoxList, masks: Tensor) -> list[PastedMask | None]:
    if are_planes(masks, boxes.size):
        return [_cropped(mask[0] > MASK_THRESHOLD) for mask in masks]
    return [
        paste_mask_in_box(mask[0], box, boxes.size)
        for mask, box in zip(masks, boxes.convert("xyxy").bbox.detach().cpu(), strict=True)
    ]


def _cropped(mask: Tensor) -> PastedMask:
    """The smallest crop of a whole-image mask (h, w) that holds all of it."""
    pixels = mask.detach().cpu().numpy().astype(np.uint8)
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return PastedMask(0, 0, np.zeros((0, 0), dtype=np.uint8))
    y0, x0 = int(rows[0]), int(columns[0])
    return PastedMask(x0, y0, pixels[y0 : rows[-1] + 1, x0 : columns[-1] + 1])
