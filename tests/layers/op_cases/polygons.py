"""Cases of ``rasterize_polygons`` and ``polygon_areas``: for the CPU and float32 only."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded

SQUARE = [(2.0, 1.0), (4.0, 1.0), (4.0, 4.0), (2.0, 4.0)]
BOW_TIE = [(0.0, 0.0), (8.0, 8.0), (8.0, 0.0), (0.0, 8.0)]
OUTSIDE = [(-30.0, -40.0), (-20.0, 60.0), (90.0, 3.0)]
LINE = [(1.0, 1.0), (7.0, 7.0), (1.0, 1.0)]

Polygon = Sequence[tuple[float, float]]
Groups = tuple[Tensor, Tensor, Tensor]


def groups(instances: Sequence[Sequence[Polygon]]) -> Groups:
    """Points, where polygons begin, where instances begin."""
    polygons = [polygon for instance in instances for polygon in instance]
    points = torch.tensor([point for polygon in polygons for point in polygon])
    polygon_begins = torch.tensor([0, *map(len, polygons)]).cumsum(0)
    instance_begins = torch.tensor([0, *map(len, instances)]).cumsum(0)
    return points.reshape(-1, 2).float(), polygon_begins, instance_begins


def _random(count: int, corners: int) -> Groups:
    points = torch.rand(count, corners, 2, generator=seeded(corners)) * 50 - 10
    return groups([[[tuple(point) for point in polygon]] for polygon in points.tolist()])


_INSTANCES: dict[str, Groups] = {
    "none": groups([]),
    "by-hand": groups([[SQUARE], [SQUARE, BOW_TIE], [], [OUTSIDE], [LINE]]),
    "triangles": _random(9, 3),
    "stars": _random(3, 40),
}


def _members(of: Groups) -> Tensor:
    count = len(of[2]) - 1
    return torch.arange(2 * count) % max(count, 1)


def _masks(of: Groups, side: int) -> Callable[[torch.dtype], tuple[Any, ...]]:
    def arguments(dtype: torch.dtype) -> tuple[Any, ...]:
        del dtype
        members = _members(of)
        numbers = torch.rand(len(members), 4, generator=seeded(side)) * 40
        boxes = torch.cat((numbers[:, :2] - 10, numbers[:, :2] + numbers[:, 2:] - 12), dim=1)
        return *of, members, boxes, side

    return arguments


def _areas(of: Groups) -> Callable[[torch.dtype], tuple[Any, ...]]:
    def arguments(dtype: torch.dtype) -> tuple[Any, ...]:
        del dtype
        members = _members(of)
        origins = torch.rand(len(members), 2, generator=seeded(3)) * 9 - 3
        sizes = torch.randint(1, 40, (len(members), 2), generator=seeded(4))
        return *of, members, origins, sizes

    return arguments


CASES = (
    *(
        OpCase(f"{name}-{side}", "rasterize_polygons", _masks(of, side))
        for name, of in _INSTANCES.items()
        for side in (1, 14, 28)
    ),
    *(OpCase(name, "polygon_areas", _areas(of)) for name, of in _INSTANCES.items()),
)


def _changed(index: int, value: Any) -> Callable[[], tuple[Any, ...]]:
    def arguments() -> tuple[Any, ...]:
        call = [*groups([[SQUARE]]), torch.tensor([0]), torch.tensor([[0.0, 0, 9, 9]]), 14]
        call[index] = value
        return tuple(call)

    return arguments


REFUSALS = tuple(
    Refusal(name, "rasterize_polygons", _changed(index, value), message)
    for name, index, value, message in (
        ("flat-points", 0, torch.zeros(8), r"points: .*got \(8\)"),
        ("points-not-finite", 0, torch.full((4, 2), torch.inf), r"points: .*finite"),
        ("beyond-the-points", 1, torch.tensor([0, 5]), r"polygon_begins: "),
        ("begins-descend", 1, torch.tensor([0, 9, 4]), r"_begins: "),
        ("no-begins", 2, torch.zeros(0).long(), r"instance_begins: "),
        ("no-such-instance", 3, torch.tensor([1]), r"instances: expected indices in \[0, 1"),
        ("negative-instance", 3, torch.tensor([-1]), r"instances: .*-1"),
        ("boxes-of-another-count", 4, torch.zeros(2, 4), r"boxes: .*got \(2, 4\)"),
        ("no-side", 5, 0, r"side: .*got 0"),
        ("side-beyond-memory", 5, 2**40, r"side: expected 1 to 16384"),
    )
)
