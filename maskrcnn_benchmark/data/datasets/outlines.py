"""Outlines of instances as COCO writes them: polygons or run-length encoded masks."""

import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from pycocotools import mask as coco_mask

from maskrcnn_benchmark.data.datasets.rle import checked_rle, compressed_rle

Outline: TypeAlias = "list[list[float]] | dict[str, Any]"

_MIN_POLYGON_NUMBERS: Final = 6
"""x and y of three points."""

MAX_COORDINATE: Final = 1e5
"""px; further out than any photo reaches, and small enough for the rasteriser's integers."""

_MAX_DIGITS: Final = 6
"""With fewer a number is below ``MAX_COORDINATE``."""

_OF_NUMBERS: Final = b"0123456789.- \t\r\n"
_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
# What is left of lists of three points and more without their numbers: the commas.
_POLYGON: Final = rb"\[,(?:,,){2,}\]"
_OUTLINE: Final = rb"\[" + _POLYGON + rb"(?:," + _POLYGON + rb")*\]"
_POLYGONS: Final = re.compile(_OUTLINE + rb"(?:;" + _OUTLINE + rb")*")


def checked_outline(segmentation: object, height: int, width: int) -> Outline:
    """The outline with its usable polygons, or as a compressed RLE.

    Polygons of less than three points or with an odd count of numbers are left out.

    Args:
        segmentation: a list of flat polygons ``[x1, y1, x2, y2, ...]``, or an RLE dict. A single
            polygon that is in no list, and points as pairs, are understood, too.
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
        for polygon in _flat_polygons(segmentation)
        if len(polygon) >= _MIN_POLYGON_NUMBERS and len(polygon) % 2 == 0
    ]
    if not polygons:
        raise ValueError(
            "expected a list of polygons, each a list of x and y in turn of three points or more, "
            f"got {segmentation!r:.60}"
        )
    if not all(are_coordinates(polygon) for polygon in polygons):
        wrong = next(polygon for polygon in polygons if not are_coordinates(polygon))
        raise ValueError(
            f"a coordinate that is no number within +-{MAX_COORDINATE:g}: {wrong!r:.60}"
        )
    return polygons


def _flat_polygons(segmentation: list[Any]) -> list[list[Any]]:
    """The polygons of a list, each flat, in whichever way they are nested."""
    if segmentation and not any(isinstance(item, list) for item in segmentation):
        return [segmentation]
    if _are_points(segmentation):
        return [[value for point in segmentation for value in point]]
    return [
        [value for point in polygon for value in point] if _are_points(polygon) else polygon
        for polygon in segmentation
        if isinstance(polygon, list)
    ]


def _are_points(polygon: object) -> bool:
    """Whether something is a list of three pairs or more."""
    return (
        isinstance(polygon, list)
        and len(polygon) >= _MIN_POLYGON_NUMBERS // 2
        and all(isinstance(point, list) and len(point) == 2 for point in polygon)
    )


def are_polygons(text: bytes) -> bool:
    """Whether ``checked_outline`` would take the outline in a text as it is: usable polygons.

    False also of some that it would take, for the sake of speed.

    Args:
        text: the JSON of an outline, or of several with a ";" between each and the next.
    """
    has_large_number = b"0" * _MAX_DIGITS in text.translate(_ZEROS)
    without_numbers = text.translate(None, _OF_NUMBERS)
    return not has_large_number and _POLYGONS.fullmatch(without_numbers) is not None


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
            and min(values) >= -MAX_COORDINATE
            and max(values) <= MAX_COORDINATE
        )
    except (TypeError, OverflowError):
        return False
