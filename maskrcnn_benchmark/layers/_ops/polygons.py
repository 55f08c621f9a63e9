"""Polygons as masks and areas: schemas and shape functions."""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Operator


def _fake_masks(
    points: Tensor,
    polygon_begins: Tensor,
    instance_begins: Tensor,
    instances: Tensor,
    boxes: Tensor,
    side: int,
) -> Tensor:
    del polygon_begins, instance_begins, boxes
    return points.new_empty(instances.shape[0], side, side, dtype=torch.bool)


def _fake_areas(
    points: Tensor,
    polygon_begins: Tensor,
    instance_begins: Tensor,
    instances: Tensor,
    origins: Tensor,
    sizes: Tensor,
) -> Tensor:
    del polygon_begins, instance_begins, origins, sizes
    return points.new_empty(instances.shape[0], dtype=torch.int64)


_GROUPS = "Tensor points, Tensor polygon_begins, Tensor instance_begins, Tensor instances"

OPERATORS = (
    Operator(
        name="rasterize_polygons",
        schema=f"({_GROUPS}, Tensor boxes, SymInt side) -> Tensor",
        reference=_reference.rasterize_polygons,
        fake=_fake_masks,
    ),
    Operator(
        name="polygon_areas",
        schema=f"({_GROUPS}, Tensor origins, Tensor sizes) -> Tensor",
        reference=_reference.polygon_areas,
        fake=_fake_areas,
    ),
)
