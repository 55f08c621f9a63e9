"""Outlines of instances as COCO writes them: polygons or run-length encoded masks."""

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from pycocotools import mask as coco_mask

from maskrcnn_benchmark.data.datasets.rle import checked_rle, compressed_rle

Outline: TypeAlias = "list[list[float]] | dict[str, Any]"

_MIN_POLYGON_NUMBERS: Final = 6
"""x and y of three points."""

_MAX_COORDINATE: Final = 1e5
"""px; further out than any photo reaches, and small enough for the rasteriser's integers."""


def checked_outline(segmentation: object, height: int, width: int) -> Outline:
    """The outline with its usable polygons, or as a compressed RLE.

    Polygons of less than three points or with an odd count of numbers are left out.

    Args:
        segmentation: a list of flat polygons ``[x1, y1, x2, y2, ...]``, or an RLE dict.
        height: px of the image.
        width: px of the image.

    Raises:
        ValueError: no usable polygon is left, a coordinate is not a finite number of sensible
            size, or the RLE does not fit the image.
    """
    if isinstance(segmentation, dict):
        return checked_rle(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError(f"an outline must be a list or an object, not {segmentation!r:.40}")
    polygons = [
        polygon
        for polygon in segmentation
        if isinstance(polygon, list)
        and len(polygon) >= _MIN_POLYGON_NUMBERS
        and len(polygon) % 2 == 0
    ]
    if not polygons:
        raise ValueError("no polygon of at least three points")
    if not all(are_coordinates(polygon) for polygon in polygons):
        raise ValueError(f"a coordinate that is no number within +-{_MAX_COORDINATE:g}")
    return polygons


def outline_area(outline: Outline, height: int, width: int) -> float:
    """Number of pixels that an outline of ``checked_outline`` covers in an image of that size."""
    rle = outline if isinstance(outline, dict) else compressed_rle(outline, height, width)
    return float(coco_mask.area(rle))


def are_coordinates(values: Sequence[Any]) -> bool:
    """Whether all values, at least one, are finite numbers of a size that makes sense in px."""
    try:
        return (
            len(values) > 0
            and all(map(math.isfinite, values))
            and min(values) >= -_MAX_COORDINATE
            and max(values) <= _MAX_COORDINATE
        )
    except (TypeError, OverflowError):
        return False
