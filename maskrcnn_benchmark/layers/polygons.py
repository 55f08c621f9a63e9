"""Groups of polygons as masks, cropped to boxes, and their areas.

Shape symbols: P points, Q polygons, G instances (groups of polygons), R masks, M their side.

The pixels are those of COCO's mask API, bit for bit: the union of the polygons of an instance, each
filled where an odd number of its edges lies above. All results are on the CPU.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import (
    check_has_values,
    check_integers,
    check_shape,
    check_tensors,
)


class PolygonGroups(NamedTuple):
    """Polygons of several instances in one piece of memory, on the CPU.

    Attributes:
        points: (P, 2) float32 x, y of all polygons, finite.
        polygon_begins: (Q + 1,) int64 first point of each polygon; the last number is P.
        instance_begins: (G + 1,) int64 first polygon of each instance; the last number is Q.
    """

    points: Tensor
    polygon_begins: Tensor
    instance_begins: Tensor


def _check_instances(instances: Tensor) -> None:
    check_tensors(instances=instances)
    check_integers(instances=instances)
    check_has_values(instances=instances)
    check_shape("instances", instances, ("R",))


def _check(name: str, values: Tensor, instances: Tensor, columns: int) -> None:
    check_tensors(**{name: values})
    check_has_values(**{name: values})
    check_shape(name, values, (len(instances), columns))


def rasterize_polygons(
    groups: PolygonGroups, instances: Tensor, boxes: Tensor, side: int
) -> Tensor:
    """(R, M, M) bool masks: each an instance cropped to a box and scaled to M x M.

    Equal to moving the points by the box's first corner, scaling them (float32) by
    M / max(side of the box, 1) and rasterising with pycocotools.

    Args:
        groups: the polygons.
        instances: (R,) integers, which instance each mask shows.
        boxes: (R, 4) finite, xyxy in the frame of the points; x2 - x1 wide. Not differentiable.
        side: M, at least 1.

    Raises:
        ValueError: shapes that do not fit, indices or sizes that are not integers.
        RuntimeError: an index out of range, points or boxes that are not finite (ValueError
            without compiled operators).
    """
    _check_instances(instances)
    _check("boxes", boxes, instances, 4)
    masks: Tensor = torch.ops.centermask.rasterize_polygons(
        *groups, instances.long().cpu(), boxes.detach().cpu().float(), side
    )
    return masks


def polygon_areas(
    groups: PolygonGroups, instances: Tensor, origins: Tensor, sizes_hw: Tensor
) -> Tensor:
    """(R,) int64 px^2: area of an instance within a canvas, as pycocotools would rasterise it.

    Arguments and errors are those of ``rasterize_polygons``, and in the place of boxes ``origins``,
    (R, 2) finite, x, y of the canvas's first corner, subtracted in float32; ``sizes_hw``, (R, 2)
    integers, at least 1, height and width of the canvas.
    """
    _check_instances(instances)
    _check("origins", origins, instances, 2)
    _check("sizes_hw", sizes_hw, instances, 2)
    check_integers(sizes_hw=sizes_hw)
    areas: Tensor = torch.ops.centermask.polygon_areas(
        *groups, instances.long().cpu(), origins.detach().cpu().float(), sizes_hw.long().cpu()
    )
    return areas
