"""Instances as polygons.

Frame: px of the image of ``size`` (w, h); x = 3.0 is the left edge of pixel column 3, x = 4.0 its
right edge. Coordinates are float32, as in the original, so that rasterised masks are the same; or
float64 where another program keeps them so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from maskrcnn_benchmark.layers.coco_raster import Polygon, rasterize
from maskrcnn_benchmark.structures.bounding_box import FLIP_DIAGONAL, FLIP_LEFT_RIGHT
from maskrcnn_benchmark.structures.indexing import InstanceIndex, as_index

MIN_COORDINATES = 6

CoordinateType: TypeAlias = "type[np.float32] | type[np.float64]"


class PolygonList:
    """Instances of one image, each a group of polygons that are one mask together.

    No method changes a PolygonList; the arrays may be shared, so treat them as read-only.

    Args:
        instances: for each instance its polygons, each flat as x1, y1, x2, y2, ... of three points
            or more. An instance without polygons is an empty mask.
        size: (w, h) of the image; fractional after a crop to a fractional box.
        dtype: of the coordinates, ``numpy.float32`` or ``numpy.float64``.

    Attributes:
        polygons: for each instance its polygons, (points, 2) arrays.
        size, dtype: as given.

    Raises:
        ValueError: a polygon with an odd number of coordinates, fewer than three points, or a
            coordinate that is not finite.
    """

    def __init__(
        self,
        instances: Iterable[Iterable[ArrayLike]],
        size: tuple[float, float],
        dtype: CoordinateType = np.float32,
    ) -> None:
        self.polygons: tuple[tuple[Polygon, ...], ...] = tuple(
            tuple(_as_points(polygon, dtype) for polygon in polygons) for polygons in instances
        )
        self.size = size
        self.dtype = dtype

    def _of_points(
        self, polygons: Iterable[tuple[Polygon, ...]], size: tuple[float, float]
    ) -> PolygonList:
        """A list of polygons that are known to be sound."""
        made = PolygonList((), size, self.dtype)
        made.polygons = tuple(polygons)
        return made

    def __len__(self) -> int:
        return len(self.polygons)

    def __getitem__(self, item: InstanceIndex) -> PolygonList:
        index = as_index(item, len(self))
        if isinstance(index, slice):
            return self._of_points(self.polygons[index], self.size)
        if index.dtype == torch.bool:
            index = index.nonzero()[:, 0]
        return self._of_points((self.polygons[i] for i in index.tolist()), self.size)

    def __repr__(self) -> str:
        return f"PolygonList(num_instances={len(self)}, size={self.size})"

    def _map(self, shift: Sequence[float], scale: Sequence[float]) -> list[tuple[Polygon, ...]]:
        """Every point (x, y) as ((x, y) - shift) * scale."""
        offset: Polygon = np.array(shift, dtype=self.dtype)
        factor: Polygon = np.array(scale, dtype=self.dtype)
        return [
            tuple((points - offset) * factor for points in polygons) for polygons in self.polygons
        ]

    def resize(self, size: tuple[int, int]) -> PolygonList:
        """The instances in the image resized to ``size`` (w, h)."""
        ratios = [new / old for new, old in zip(size, self.size, strict=True)]
        return self._of_points(self._map((0, 0), ratios), size)

    def crop(self, box: Sequence[float]) -> PolygonList:
        """The instances relative to the upper left corner of ``box`` (xyxy), not clipped to it.

        The new size is (x2 - x1, y2 - y1), each at least 1, as in the original.
        """
        # UPSTREAM(crop-without-clipping): rasterising cuts off what is outside.
        left, top, right, bottom = (float(value) for value in box)
        size = (max(right - left, 1.0), max(bottom - top, 1.0))
        return self._of_points(self._map((left, top), (1, 1)), size)

    def transpose(self, method: int) -> PolygonList:
        """The instances in the image flipped by ``FLIP_*``."""
        width, height = self.size
        if method == FLIP_DIAGONAL:
            swapped = [
                tuple(np.ascontiguousarray(points[:, ::-1]) for points in polygons)
                for polygons in self.polygons
            ]
            return self._of_points(swapped, (height, width))
        # UPSTREAM(polygon-flip): segmentation_mask.py mirrored at size - 1, as is right for pixel
        # indices, but not for edges: masks moved by a pixel against their flipped image.
        if method == FLIP_LEFT_RIGHT:
            return self._of_points(self._map((width, 0), (-1, 1)), self.size)
        return self._of_points(self._map((0, height), (1, -1)), self.size)

    def to_bitmasks(self) -> Tensor:
        """(K, H, W) bool masks by COCO's rasteriser; a fractional size is rounded down."""
        width, height = (int(length) for length in self.size)
        return torch.from_numpy(rasterize(self.polygons, (height, width)))


def _as_points(polygon: ArrayLike, dtype: CoordinateType) -> Polygon:
    points: Polygon = np.asarray(polygon, dtype=dtype)
    flat = points.ravel()
    if len(flat) < MIN_COORDINATES or len(flat) % 2:
        raise ValueError(
            f"a polygon needs an even number of at least {MIN_COORDINATES} coordinates, "
            f"not {len(flat)}"
        )
    if not np.isfinite(flat).all():
        raise ValueError(f"a polygon has a coordinate that is not finite: {flat.tolist()}")
    return flat.reshape(-1, 2)
