"""Masks of boxes resized to the visible parts of their boxes, and run lengths, in plain NumPy.

Shapes: N masks, M their side, S their side with padding; h, w of a box's visible part.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pycocotools.mask as mask_utils
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET

MASK_THRESHOLD: Final = 0.5
"""Share of a pixel that a predicted mask has to cover."""

MASK_PADDING: Final = 1
"""Zeros that the original puts around a predicted mask before it is resized."""

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
        boxes: (N, 4) px of the image, xyxy inclusive.
        image_wh: width and height of the image.
        padding: zeros put around the mask; the box grows in proportion.

    Raises:
        ValueError: a box that is not finite.
    """
    check_finite(boxes)
    side = masks.shape[-1]
    padded = F.pad(masks.detach().float().cpu(), (padding,) * 4).numpy()
    # A side of 0 can only be that of no masks.
    factor = (side + 2 * padding) / max(side, 1)
    corners = _expanded_corners(boxes.detach().float().cpu(), factor)
    width, height = image_wh
    for source, (left, top, right, bottom) in zip(padded, corners.tolist(), strict=True):
        columns, rows = _visible_span(left, right, width), _visible_span(top, bottom, height)
        yield VisiblePart(columns.start, rows.start, _resize_visible(source, columns, rows))


def sub_pixel_parts(
    masks: Tensor, boxes: Tensor, image_wh: tuple[int, int]
) -> Iterator[VisiblePart]:
    """Every mask in turn, read (bilinear, zeros around it) at the centres of its box's pixels.

    Pixel (row i, column j) reads the mask at the column (j + 0.5 - x1) / (x2 - x1) * M - 0.5, and
    at the row likewise; pixels that read zeros only are left out.

    Args:
        masks: (N, M, M) probabilities.
        boxes: (N, 4) px of the image, xyxy half-open; without extent nothing is visible.
        image_wh: width and height of the image.

    Raises:
        ValueError: a box that is not finite.
    """
    check_finite(boxes)
    side = masks.shape[-1]
    padded = F.pad(masks.detach().float().cpu(), (1,) * 4).numpy()
    width, height = image_wh
    for source, (x1, y1, x2, y2) in zip(padded, boxes.detach().tolist(), strict=True):
        x0, columns = _positions(x1, x2, width, side)
        y0, rows = _positions(y1, y2, height, side)
        by_row = _read_rows(source, rows)
        yield VisiblePart(x0, y0, _read_rows(np.ascontiguousarray(by_row.T), columns))


def check_finite(boxes: Tensor) -> None:
    """Refuse boxes that are not finite, with a ValueError."""
    if not torch.isfinite(boxes).all():
        raise ValueError("boxes: expected finite numbers")


def encode_part(x0: int, y0: int, columns: NDArray[Any], image_wh: tuple[int, int]) -> bytes:
    """COCO's compressed counts of the image in which the part's pixels are set.

    Args:
        x0: image column of the part's first column.
        y0: image row of the part's first row.
        columns: (w, h) the part transposed; all but 0 is set.
        image_wh: width and height of the image.
    """
    width, height = image_wh
    num_columns, rows = columns.shape
    # RLE runs go down the columns. One 0 before each column and one at the end keep runs of
    # neighbouring columns apart, whatever lies above and below the part in the image.
    framed = np.zeros(num_columns * (rows + 1) + 1, dtype=np.bool_)
    framed[:-1].reshape(num_columns, rows + 1)[:, 1:] = columns
    changes = np.flatnonzero(framed[1:] != framed[:-1])
    column, row = np.divmod(changes, rows + 1)
    position = (x0 + column) * height + y0 + row
    starts, ends = position[0::2], position[1::2]
    # A run to the image's bottom goes on at the top of the next column.
    joined = np.flatnonzero(ends[:-1] == starts[1:])
    bounds = np.empty(2 * (len(starts) - len(joined)) + 2, dtype=np.int64)
    bounds[0], bounds[-1] = 0, width * height
    bounds[1:-1:2] = np.delete(starts, joined + 1)
    bounds[2:-1:2] = np.delete(ends, joined)
    counts = np.diff(bounds)
    if counts[-1] == 0 and len(counts) > 1:
        counts = counts[:-1]
    rle: dict[str, Any] = mask_utils.frPyObjects(
        {"size": [height, width], "counts": counts}, height, width
    )
    text: bytes = rle["counts"]
    return text


def _positions(
    first: float, last: float, image_length: int, side: int
) -> tuple[int, NDArray[np.float64]]:
    """First visible pixel along an axis, and where it and those after it read the padded mask."""
    length = last - first
    if length <= 0:
        return 0, np.empty(0)
    # A mask fades to zero within half a cell around its box.
    margin = length / (2 * side) + 0.5
    start = math.ceil(min(max(first - margin, 0), image_length))
    stop = math.floor(min(last + margin, image_length))
    position = (np.arange(start, stop) + 0.5 - first) * (side / length) + 0.5
    return start, position.clip(0, side + 1)


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


class CellReader:
    """How a row of cells is read where it is resized, bilinearly and without corner alignment.

    Args:
        length: cells of the row.
        full: cells that it is resized to.

    Attributes:
        weights: (full, length) float32; the product with it is what
            ``torch.nn.functional.interpolate`` gives, up to rounding.
    """

    def __init__(self, length: int, full: int) -> None:
        position = _positions_of(_Span(start=0, skipped=0, visible=full, full=full), length)
        self._lower = position.astype(np.int64)
        self._upper = np.minimum(self._lower + 1, length - 1)
        place, share = np.arange(full), position - self._lower
        weights = np.zeros((full, length), dtype=np.float32)
        weights[place, self._lower] = 1 - share
        weights[place, self._upper] += share
        self.weights = torch.from_numpy(weights)

    def readers(self, first: int, last: int) -> tuple[int, int]:
        """First and last (excluded) of the resized cells that read ``first`` .. ``last - 1``."""
        if last <= first:
            return 0, 0
        start, stop = self._upper.searchsorted(first), self._lower.searchsorted(last)
        return int(start), int(stop)


def _interpolate_rows(source: FloatArray, span: _Span) -> FloatArray:
    """(visible, ...) rows of ``source`` resized to ``span.full`` rows.

    Bilinear without corner alignment, in float32 as ``torch.nn.functional.interpolate`` has it.
    """
    return _read_rows(source, _positions_of(span, len(source)))


def _positions_of(span: _Span, length: int) -> FloatArray:
    """(visible,) places in ``length`` cells that the visible ones of ``span.full`` read."""
    scale = np.float32(length / span.full)
    # Counted in integers: float32 would not count on beyond 2^24.
    target = np.arange(span.skipped, span.skipped + span.visible).astype(np.float32)
    position: FloatArray = (target + np.float32(0.5)) * scale - np.float32(0.5)
    return np.maximum(position, np.float32(0))


def _read_rows(source: FloatArray, position: NDArray[np.floating[Any]]) -> FloatArray:
    """(n, ...) rows of ``source`` at n positions >= 0, between its rows as well."""
    lower = position.astype(np.int64)
    upper = np.minimum(lower + 1, len(source) - 1)
    weight = (position - lower).astype(np.float32)[:, None]
    result: FloatArray = source[lower]
    result *= 1 - weight
    above = source[upper]
    above *= weight
    result += above
    return result
