"""Predicted masks of boxes, resized and placed in the image, inside their boxes only.

A full-image plane a mask is what makes pasting slow and large. Nothing here is larger than the
visible part of one box, except in ``paste_masks``, whose result is the stack itself.

Shapes: N masks, M their side; H, W height and width of the image, h, w of a box's visible part.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.layers import paste_masks_rle
from maskrcnn_benchmark.layers.mask_resize import visible_parts
from maskrcnn_benchmark.structures.bounding_box import BoxList

PASTED_THRESHOLD: Final = 0.5
"""Share of a pixel that a resized mask has to cover."""


class PastedMask(NamedTuple):
    """The part of a pasted mask that lies in the image; all else is 0.

    Attributes:
        x0: image column of the part's first column.
        y0: image row of the part's first row.
        mask: (h, w) uint8 of 0 and 1 (with a threshold below 0, of 0 to 255); h or w is 0 if the
            box lies outside the image.
    """

    x0: int
    y0: int
    mask: NDArray[np.uint8]


def paste_mask_in_box(
    mask: Tensor,
    box: Tensor,
    image_wh: tuple[int, int],
    threshold: float = 0.5,
    padding: int = 1,
) -> PastedMask:
    """The mask resized to its box, thresholded and clipped to the image.

    Args:
        mask: (M, M) probabilities.
        box: (4,) px of the image, xyxy inclusive; may leave the image.
        image_wh: width and height of the image.
        threshold: pixels above it are 1; below 0 there is none, and pixels are probabilities
            times 255, rounded down, for viewing.
        padding: zeros put around the mask, so that it can fade out; the box grows in proportion.

    Raises:
        ValueError: a mask that is not square, or a box that is not finite.
    """
    (pasted,) = _paste_each(mask[None, None], box[None], image_wh, threshold, padding)
    return PastedMask(pasted.x0, pasted.y0, np.ascontiguousarray(pasted.mask))


def paste_masks(masks: Tensor, boxes: BoxList, threshold: float = 0.5, padding: int = 1) -> Tensor:
    """(N, 1, H, W) uint8 masks in full-image planes, on the CPU.

    Args:
        masks: (N, 1, M, M) probabilities.
        boxes: the N boxes; their ``size`` is that of the image.
        threshold: see ``paste_mask_in_box``.
        padding: see ``paste_mask_in_box``.

    Raises:
        ValueError: see ``paste_mask_in_box``.
    """
    width, height = boxes.size
    planes = torch.zeros((len(boxes), 1, height, width), dtype=torch.uint8)
    corners = boxes.convert("xyxy").bbox
    for plane, pasted in zip(
        planes[:, 0].numpy(),
        _paste_each(masks, corners, boxes.size, threshold, padding),
        strict=True,
    ):
        rows, columns = pasted.mask.shape
        plane[pasted.y0 : pasted.y0 + rows, pasted.x0 : pasted.x0 + columns] = pasted.mask
    return planes


def are_planes(masks: Tensor, image_wh: tuple[int, int]) -> bool:
    """Whether (N, 1, h, w) are masks of the whole image, not probabilities inside boxes.

    An image may be as small as the probabilities; those alone are square and floating.

    Args:
        masks: (N, 1, H, W) or (N, 1, M, M).
        image_wh: width and height of the image.
    """
    width, height = image_wh
    is_square = width == height
    return masks.shape[2:] == (height, width) and not (is_square and masks.is_floating_point())


def resize_detections(detections: BoxList, size: tuple[int, int]) -> BoxList:
    """The detections in the image resized to ``size`` (w, h), with the field ``mask``, if any.

    Masks inside boxes, (N, 1, M, M), need no change; pasted ones, (N, 1, H, W), are resized
    (bilinear) and thresholded anew.

    Args:
        detections: N detections.
        size: (w, h) of the other image.
    """
    resized = detections.resize(size)
    if not detections.has_field("mask") or size == detections.size:
        return resized
    masks: Tensor = detections.get_field("mask")
    if masks.dtype != torch.uint8 or not are_planes(masks, detections.size):
        return resized
    planes = masks.new_zeros(len(masks), 1, size[1], size[0])
    # One at a time: float planes of all masks would be large.
    for plane, mask in zip(planes, masks, strict=True):
        scaled = F.interpolate(mask[None].float(), size=size[::-1], mode="bilinear")
        plane.copy_(scaled[0] > PASTED_THRESHOLD)
    resized.add_field("mask", planes)
    return resized


def encode_masks(
    masks: Tensor, boxes: BoxList, threshold: float = 0.5, padding: int = 1
) -> list[dict[str, Any]]:
    """One COCO compressed RLE a mask, ``{"size": [H, W], "counts": str}``.

    Equal to encoding the planes of ``paste_masks``, which are never made.

    Args:
        masks: (N, 1, M, M) probabilities.
        boxes: the N boxes; their ``size`` is that of the image.
        threshold: see ``paste_mask_in_box``; at least 0.
        padding: see ``paste_mask_in_box``.

    Raises:
        ValueError: a threshold below 0; see ``paste_mask_in_box``.
    """
    if threshold < 0:
        raise ValueError(f"threshold must be at least 0 to encode masks, not {threshold}")
    corners = boxes.convert("xyxy").bbox
    _check(masks, corners)
    width, height = boxes.size
    return paste_masks_rle(masks[:, 0], corners, (height, width), threshold, padding)


def _paste_each(
    masks: Tensor, boxes: Tensor, image_wh: tuple[int, int], threshold: float, padding: int
) -> Iterator[PastedMask]:
    """Every pasted mask in turn; each ``mask`` is the transpose of a contiguous array."""
    _check(masks, boxes)
    for x0, y0, columns in visible_parts(masks[:, 0], boxes, image_wh, padding):
        if threshold < 0:
            pasted = (columns * 255).astype(np.uint8)
        else:
            pasted = (columns > threshold).view(np.uint8)
        yield PastedMask(x0, y0, pasted.T)


def _check(masks: Tensor, boxes: Tensor) -> None:
    if masks.shape != (len(boxes), 1, *masks.shape[-1:] * 2):
        raise ValueError(
            f"masks must have the shape ({len(boxes)}, 1, M, M), not {tuple(masks.shape)}"
        )
    if not torch.isfinite(boxes).all():
        raise ValueError("boxes must be finite to be pasted into")
