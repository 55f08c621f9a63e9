"""Polygons as masks; the twins are in NumPy and rasterise with pycocotools.

Shape symbols: P points, Q polygons, G instances (groups of polygons), R masks, M their side.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_range, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator
from maskrcnn_benchmark.layers.coco_raster import Polygon, rasterize, rasterized_areas

_MIN_SIDE = np.float32(1)
# pycocotools would go beyond the memory that it got for larger ones.
_MOST_SIDE, _MOST_SIZE = 2**14, 2**24

Group = list[Polygon]


def rasterize_polygons(
    points: Tensor,
    polygon_begins: Tensor,
    instance_begins: Tensor,
    instances: Tensor,
    boxes: Tensor,
    side: int,
) -> Tensor:
    """(R, M, M) bool masks; arguments as in ``layers.rasterize_polygons``."""
    group = _groups(points, polygon_begins, instance_begins, instances)
    _check_floats("boxes", boxes, (len(instances), 4))
    check_range("side", side, 1, _MOST_SIDE)
    corners = boxes.detach().cpu().numpy()
    scales = np.float32(side) / np.maximum(corners[:, 2:] - corners[:, :2], _MIN_SIDE)
    crops = [
        [(points - corner[:2]) * scale for points in group(instance)]
        for instance, corner, scale in zip(instances.tolist(), corners, scales, strict=True)
    ]
    return torch.from_numpy(rasterize(crops, (side, side))).to(points.device)


def polygon_areas(
    points: Tensor,
    polygon_begins: Tensor,
    instance_begins: Tensor,
    instances: Tensor,
    origins: Tensor,
    sizes: Tensor,
) -> Tensor:
    """(R,) int64 areas in px^2; arguments as in ``layers.polygon_areas``."""
    group = _groups(points, polygon_begins, instance_begins, instances)
    _check_floats("origins", origins, (len(instances), 2))
    check_shape("sizes", sizes, (len(instances), 2))
    check_dtype("sizes", sizes, torch.int64)
    for size in sizes.flatten().tolist():
        check_range("sizes", size, 1, _MOST_SIZE)
    areas = [
        rasterized_areas([[points - origin for points in group(instance)]], (height, width))[0]
        for instance, origin, (height, width) in zip(
            instances.tolist(), origins.detach().cpu().numpy(), sizes.tolist(), strict=True
        )
    ]
    return torch.tensor(areas, dtype=torch.int64, device=points.device)


def _groups(
    points: Tensor, polygon_begins: Tensor, instance_begins: Tensor, instances: Tensor
) -> Callable[[int], Group]:
    """The polygons of an instance, by its index, which the instances to come must be."""
    _check_floats("points", points, (None, 2))
    _check_begins("polygon_begins", polygon_begins, len(points))
    _check_begins("instance_begins", instance_begins, len(polygon_begins) - 1)
    check_shape("instances", instances, (None,))
    check_dtype("instances", instances, torch.int64)
    flat: Polygon = points.detach().cpu().numpy()
    polygons = np.split(flat, polygon_begins.tolist()[1:-1]) if len(polygon_begins) > 1 else []
    begins = instance_begins.tolist()

    def group(instance: int) -> Group:
        if not 0 <= instance < len(begins) - 1:
            raise ValueError(
                f"instances: expected indices in [0, {len(begins) - 1}), got {instance}"
            )
        return polygons[begins[instance] : begins[instance + 1]]

    return group


def _check_floats(name: str, values: Tensor, sides: tuple[int | None, ...]) -> None:
    check_shape(name, values, sides)
    check_dtype(name, values, torch.float32)
    if not torch.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers")


def _check_begins(name: str, begins: Tensor, num_parts: int) -> None:
    check_shape(name, begins, (None,))
    check_dtype(name, begins, torch.int64)
    if len(begins) == 0 or begins[0] != 0 or begins[-1] != num_parts:
        raise ValueError(f"{name}: expected numbers from 0 to {num_parts}")
    if (begins.diff() < 0).any():
        raise ValueError(f"{name}: expected ascending numbers")


def _fake_masks(
    _points: Tensor, _polygons: Tensor, _begins: Tensor, instances: Tensor, _: Tensor, side: int
) -> Tensor:
    return instances.new_empty(instances.shape[0], side, side, dtype=torch.bool)


def _fake_areas(
    _points: Tensor, _polygons: Tensor, _begins: Tensor, instances: Tensor, *_: Tensor
) -> Tensor:
    return instances.new_empty(instances.shape[0], dtype=torch.int64)


_GROUPS = "Tensor points, Tensor polygon_begins, Tensor instance_begins, Tensor instances"

OPERATORS = (
    Operator(
        name="rasterize_polygons",
        schema=f"({_GROUPS}, Tensor boxes, SymInt side) -> Tensor",
        reference=rasterize_polygons,
        fake=_fake_masks,
    ),
    Operator(
        name="polygon_areas",
        schema=f"({_GROUPS}, Tensor origins, Tensor sizes) -> Tensor",
        reference=polygon_areas,
        fake=_fake_areas,
    ),
)
