"""Predicted masks of boxes, resized and placed in the image, inside their boxes only.

A full-image plane a mask is what makes pasting slow and large. Nothing here is larger than the
visible part of one box, except in ``paste_masks``, whose result is the stack itself.

Shapes: N masks, M their side; H, W height and width of the image, h, w of a box's visible part.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pycocotools.mask as mask_utils
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.pixel import LEGACY_PIXEL_OFFSET

MAX_COORDINATE: Final = 2**30
"""Corners beyond this (px) are moved to it before they become integers."""

FloatArray = NDArray[np.float32]


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


class _Span(NamedTuple):
    """Visible pixels of a box along one axis.

    Attributes:
        start: first visible image pixel; >= 0.
        skipped: pixels of the box before it.
        visible: number of visible pixels, >= 0.
        full: number of pixels of the whole box, >= 1.
    """

    start: int
    skipped: int
    visible: int
    full: int


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
    return [
        encode_pasted(pasted, boxes.size)
        for pasted in _paste_each(masks, corners, boxes.size, threshold, padding)
    ]


def encode_pasted(pasted: PastedMask, image_wh: tuple[int, int]) -> dict[str, Any]:
    """COCO compressed RLE of a pasted mask, ``{"size": [H, W], "counts": str}``.

    Args:
        pasted: visible part of the mask and its place.
        image_wh: width and height of the image.
    """
    width, height = image_wh
    rows, columns = pasted.mask.shape
    # RLE runs go down the columns. One 0 before each column and one at the end keep runs of
    # neighbouring columns apart, whatever lies above and below the part in the image.
    framed = np.zeros(columns * (rows + 1) + 1, dtype=np.bool_)
    framed[:-1].reshape(columns, rows + 1)[:, 1:] = pasted.mask.T
    changes = np.flatnonzero(framed[1:] != framed[:-1])
    column, row = np.divmod(changes, rows + 1)
    position = (pasted.x0 + column) * height + pasted.y0 + row
    starts, ends = position[0::2], position[1::2]
    # A run to the image's bottom goes on at the top of the next column.
    joined = np.flatnonzero(ends[:-1] == starts[1:])
    bounds = np.empty(2 * (len(starts) - len(joined)) + 2, dtype=np.int64)
    bounds[0], bounds[-1] = 0, width * height
    bounds[1:-1:2] = np.delete(starts, joined + 1)
    bounds[2:-1:2] = np.delete(ends, joined)
    counts = np.diff(bounds)
    if counts[-1] == 0:
        counts = counts[:-1]
    rle: dict[str, Any] = mask_utils.frPyObjects(
        {"size": [height, width], "counts": counts}, height, width
    )
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _paste_each(
    masks: Tensor, boxes: Tensor, image_wh: tuple[int, int], threshold: float, padding: int
) -> Iterator[PastedMask]:
    """Every pasted mask in turn; each ``mask`` is the transpose of a contiguous array."""
    if masks.shape != (len(boxes), 1, *masks.shape[-1:] * 2):
        raise ValueError(
            f"masks must have the shape ({len(boxes)}, 1, M, M), not {tuple(masks.shape)}"
        )
    if not torch.isfinite(boxes).all():
        raise ValueError("boxes must be finite to be pasted into")
    side = masks.shape[-1]
    padded = F.pad(masks[:, 0].detach().float().cpu(), (padding,) * 4).numpy()
    corners = _expanded_corners(boxes.detach().float().cpu(), (side + 2 * padding) / side)
    width, height = image_wh
    for source, (left, top, right, bottom) in zip(padded, corners.tolist(), strict=True):
        columns, rows = _visible_span(left, right, width), _visible_span(top, bottom, height)
        resized = _resize_visible(source, columns, rows)
        if threshold < 0:
            pasted = (resized * 255).astype(np.uint8)
        else:
            pasted = (resized > threshold).view(np.uint8)
        yield PastedMask(columns.start, rows.start, pasted.T)


def _expanded_corners(boxes: Tensor, factor: float) -> Tensor:
    """(N, 4) int64 corners of the boxes grown about their centre, rounded towards zero."""
    center = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * factor
    corners = torch.cat([center - half, center + half], dim=1)
    return corners.clamp(-MAX_COORDINATE, MAX_COORDINATE).long()


def _visible_span(first: int, last: int, image_length: int) -> _Span:
    full = max(last - first + LEGACY_PIXEL_OFFSET, 1)
    start = min(max(first, 0), image_length)
    stop = min(max(first + full, start), image_length)
    return _Span(start=start, skipped=start - first, visible=stop - start, full=full)


def _resize_visible(source: FloatArray, columns: _Span, rows: _Span) -> FloatArray:
    """(w, h) transposed visible part of the bilinear resize of ``source`` to the full box."""
    by_row = _interpolate_rows(source, rows)  # (h, S)
    return _interpolate_rows(np.ascontiguousarray(by_row.T), columns)


def _interpolate_rows(source: FloatArray, span: _Span) -> FloatArray:
    """(visible, ...) rows of ``source`` resized to ``span.full`` rows.

    Bilinear without corner alignment, in float32 as ``torch.nn.functional.interpolate`` has it.
    """
    scale = np.float32(len(source) / span.full)
    target = np.arange(span.skipped, span.skipped + span.visible, dtype=np.float32)
    position = np.maximum((target + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    lower = position.astype(np.int64)
    upper = np.minimum(lower + 1, len(source) - 1)
    weight = (position - lower).astype(np.float32)[:, None]
    result: FloatArray = source[lower]
    result *= 1 - weight
    above = source[upper]
    above *= weight
    result += above
    return result
