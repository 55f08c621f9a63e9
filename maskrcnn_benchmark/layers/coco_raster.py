"""Polygons as masks by COCO's own rasteriser, pycocotools.

Shapes: K instances; h, w of the masks.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pycocotools.mask as mask_utils
from numpy.typing import NDArray

Polygon: TypeAlias = NDArray[np.floating[Any]]
"""(points, 2) x, y in px."""


def rasterize(
    instances: Sequence[Sequence[Polygon]], size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """(K, h, w) bool masks of polygon groups, by COCO's rasteriser.

    Args:
        instances: for each instance its (points, 2) polygons; parts outside are cut off.
        size_hw: height and width of the masks.
    """
    if not instances:
        return np.zeros((0, *size_hw), dtype=np.bool_)
    stack = mask_utils.decode(_instance_rles(instances, size_hw))  # (h, w, K)
    return np.ascontiguousarray(np.moveaxis(stack, 2, 0)).view(np.bool_)


def rasterized_areas(instances: Sequence[Sequence[Polygon]], size_hw: tuple[int, int]) -> list[int]:
    """Area in px^2 of each rasterised polygon group; see ``rasterize``."""
    return [int(mask_utils.area(rle)) for rle in _instance_rles(instances, size_hw)]


def _instance_rles(
    instances: Sequence[Sequence[Polygon]], size_hw: tuple[int, int]
) -> list[dict[str, Any]]:
    """One compressed RLE an instance, the union of its polygons."""
    height, width = size_hw
    flat = [points.ravel() for polygons in instances for points in polygons]
    rles = iter(mask_utils.frPyObjects(flat, height, width) if flat else ())
    return [_union([next(rles) for _ in polygons], height, width) for polygons in instances]


def _union(rles: list[dict[str, Any]], height: int, width: int) -> dict[str, Any]:
    if len(rles) == 1:
        return rles[0]
    if not rles:
        rles = [{"size": [height, width], "counts": [height * width]}]
        rles = mask_utils.frPyObjects(rles, height, width)
    merged: dict[str, Any] = mask_utils.merge(rles)
    return merged
