"""Masks of boxes as pixels and as run lengths of the image, in plain NumPy.

Shapes: N masks, M their side, S their side with padding; h, w of a box's visible part.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from centermask_runtime.pixel import LEGACY_PIXEL_OFFSET
from centermask_runtime.run_lengths import encode_parts

MASK_THRESHOLD: Final = 0.5
"""Share of a pixel that a predicted mask has to cover."""

MASK_PADDING: Final = 1
"""Zeros that the original puts around a predicted mask before it is resized."""

MAX_COORDINATE: Final = 2**30
"""Corners beyond this (px) are moved to it before they become integers."""

FloatArray: TypeAlias = NDArray[np.float32]
SizeWH: TypeAlias = tuple[int, int]
RLE: TypeAlias = dict[str, Any]
"""COCO compressed run lengths of an image, ``{"size": [H, W], "counts": str}``."""


class PastedMask(NamedTuple):
    """A part of the image that holds all of one mask; all else is 0.

    Attributes:
        x0: image column of the part's first column.
        y0: image row of the part's first row.
        mask: (h, w) uint8 of 0 and 1 (of 0 to 255 by a rule without threshold); h or w is 0 if
            nothing of the mask lies in the image.
    """

    x0: int
    y0: int
    mask: NDArray[np.uint8]


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


def encode_crops(crops: Iterable[PastedMask], size: SizeWH) -> list[RLE]:
    """The RLE of the image (w, h) in which each crop is a mask."""
    width, height = size
    texts = encode_parts(((x0, y0, mask.T) for x0, y0, mask in crops), size)
    return [{"size": [height, width], "counts": text.decode("ascii")} for text in texts]


class ArrayPasteRule(ABC):
    """How a mask becomes pixels of its box."""

    @abstractmethod
    def paste(self, masks: FloatArray, boxes: FloatArray, size: SizeWH) -> Iterator[PastedMask]:
        """Each of the masks (N, M, M) in turn, pasted into its box of (N, 4) xyxy px.

        Raises:
            ValueError: a box that is not finite.
        """

    def encode(self, masks: FloatArray, boxes: FloatArray, size: SizeWH) -> list[RLE]:
        """The N RLEs of what ``paste`` gives."""
        return encode_crops(self.paste(masks, boxes, size), size)


@dataclass(frozen=True)
class InclusivePaste(ArrayPasteRule):
    """The original's rule: a mask is resized to its box in whole pixels, both ends counted.

    Args:
        threshold: pixels above it are 1; below 0 there is none, and pixels are probabilities
            times 255, rounded down, for viewing.
        padding: zeros put around the mask, so that it can fade out; the box grows in proportion.
    """

    threshold: float = MASK_THRESHOLD
    padding: int = MASK_PADDING

    def paste(self, masks: FloatArray, boxes: FloatArray, size: SizeWH) -> Iterator[PastedMask]:
        """See ``ArrayPasteRule``; boxes are inclusive."""
        for x0, y0, columns in visible_parts(masks, boxes, size, self.padding):
            if self.threshold < 0:
                yield PastedMask(x0, y0, (columns * 255).astype(np.uint8).T)
            else:
                yield PastedMask(x0, y0, (columns > self.threshold).view(np.uint8).T)


@dataclass(frozen=True)
class SubPixelPaste(ArrayPasteRule):
    """Pixels read the mask where their centres lie in its box; nothing is rounded or padded.

    The rule of detectron2 and TensorMask (Chen et al. 2019): boxes are half-open, of the width
    x2 - x1, and the pixel (row i, column j) has its centre at (j + 0.5, i + 0.5).

    Args:
        threshold: pixels of at least this are 1; below 0 as for ``InclusivePaste``.
    """

    threshold: float = MASK_THRESHOLD

    def paste(self, masks: FloatArray, boxes: FloatArray, size: SizeWH) -> Iterator[PastedMask]:
        """See ``ArrayPasteRule``; boxes are half-open, and those without extent stay empty."""
        for x0, y0, columns in sub_pixel_parts(masks, boxes, size):
            if self.threshold < 0:
                yield PastedMask(x0, y0, (columns * 255).astype(np.uint8).T)
            else:
                yield PastedMask(x0, y0, (columns >= self.threshold).view(np.uint8).T)


LEGACY_PASTE: Final = InclusivePaste()


def visible_parts(
    masks: FloatArray, boxes: FloatArray, image_wh: SizeWH, padding: int
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
    _check_finite(boxes)
    side = masks.shape[-1]
    padded = _padded(masks, padding)
    # A side of 0 can only be that of no masks.
    factor = (side + 2 * padding) / max(side, 1)
    corners = _expanded_corners(boxes, factor)
    width, height = image_wh
    for source, (left, top, right, bottom) in zip(padded, corners.tolist(), strict=True):
        columns, rows = _visible_span(left, right, width), _visible_span(top, bottom, height)
        yield VisiblePart(columns.start, rows.start, _resize_visible(source, columns, rows))


def sub_pixel_parts(
    masks: FloatArray, boxes: FloatArray, image_wh: SizeWH
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
    _check_finite(boxes)
    side = masks.shape[-1]
    padded = _padded(masks, 1)
    width, height = image_wh
    for source, (x1, y1, x2, y2) in zip(padded, boxes.tolist(), strict=True):
        x0, columns = _positions(x1, x2, width, side)
        y0, rows = _positions(y1, y2, height, side)
        by_row = _read_rows(source, rows)
        yield VisiblePart(x0, y0, _read_rows(np.ascontiguousarray(by_row.T), columns))


def cell_positions(skipped: int, visible: int, full: int, length: int) -> FloatArray:
    """(visible,) places in ``length`` cells that the visible ones of ``full`` read.

    Bilinear without corner alignment, in float32 as ``torch.nn.functional.interpolate`` has it.

    Args:
        skipped: of the ``full`` ones, those before the first visible one.
        visible: number of visible ones.
        full: cells that ``length`` cells are resized to.
        length: cells that are read.
    """
    scale = np.float32(length / full)
    # Counted in integers: float32 would not count on beyond 2^24.
    target = np.arange(skipped, skipped + visible).astype(np.float32)
    position: FloatArray = (target + np.float32(0.5)) * scale - np.float32(0.5)
    return np.maximum(position, np.float32(0))


def _check_finite(boxes: FloatArray) -> None:
    if not np.isfinite(boxes).all():
        raise ValueError("boxes: expected finite numbers")


def _padded(masks: FloatArray, padding: int) -> FloatArray:
    around = (padding, padding)
    padded: FloatArray = np.pad(masks.astype(np.float32), ((0, 0), around, around))
    return padded


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


def _expanded_corners(boxes: FloatArray, factor: float) -> NDArray[np.int64]:
    """(N, 4) corners of the boxes grown about their centre, rounded towards zero."""
    boxes = boxes.astype(np.float32)
    half_one = np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        center = (boxes[:, 2:] + boxes[:, :2]) * half_one
        half = (boxes[:, 2:] - boxes[:, :2]) * half_one * np.float32(factor)
        corners = np.concatenate([center - half, center + half], axis=1)
    # What overflowed to NaN is no integer; fmax takes the number.
    bounded: FloatArray = np.minimum(np.fmax(corners, -MAX_COORDINATE), MAX_COORDINATE)
    return bounded.astype(np.int64)


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
    """(visible, ...) rows of ``source`` resized to ``span.full`` rows."""
    positions = cell_positions(span.skipped, span.visible, span.full, len(source))
    return _read_rows(source, positions)


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
