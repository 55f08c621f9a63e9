"""Masks of boxes resized to the visible parts of their boxes, in plain NumPy.

Shapes: N masks, M their side, S their side with padding; h, w of a box's visible part.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET

MAX_COORDINATE: Final = 2**30
"""Corners beyond this (px) are moved to it before they become integers."""

FloatArray = NDArray[np.float32]


class VisiblePart(NamedTuple):
    """The part of a resized mask that lies in the image.

    Attributes:
        x0: image column of the part's first column.
        y0: image row of the part's first row.
        columns: (w, h) float32, the part transposed; w or h is 0 if the box lies outside.
    """

    x0: int
    y0: int
    columns: FloatArray


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


def visible_parts(
    masks: Tensor, boxes: Tensor, image_wh: tuple[int, int], padding: int
) -> Iterator[VisiblePart]:
    """Every mask in turn, resized bilinearly to its box and clipped to the image.

    Args:
        masks: (N, M, M) probabilities.
        boxes: (N, 4) px of the image, xyxy inclusive, finite.
        image_wh: width and height of the image.
        padding: zeros put around the mask; the box grows in proportion.
    """
    side = masks.shape[-1]
    padded = F.pad(masks.detach().float().cpu(), (padding,) * 4).numpy()
    # A side of 0 can only be that of no masks.
    factor = (side + 2 * padding) / max(side, 1)
    corners = _expanded_corners(boxes.detach().float().cpu(), factor)
    width, height = image_wh
    for source, (left, top, right, bottom) in zip(padded, corners.tolist(), strict=True):
        columns, rows = _visible_span(left, right, width), _visible_span(top, bottom, height)
        yield VisiblePart(columns.start, rows.start, _resize_visible(source, columns, rows))


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
    # Counted in integers: float32 would not count on beyond 2^24.
    target = np.arange(span.skipped, span.skipped + span.visible).astype(np.float32)
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
