"""Cases of ``conv_tower``, a kernel of the CPU alone.

It computes in float32 whatever the element type of the other operators' cases is.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import TowerConv, pack_conv_tower
from tests.layers.op_cases.case import OpCase, Refusal, seeded


class Call(NamedTuple):
    """Arguments of ``conv_tower``, in order."""

    maps: list[Tensor]
    weight: Tensor
    scale: Tensor | None
    bias: Tensor
    norm: Tensor | None
    num_convs: int
    num_groups: int
    eps: float
    widths: list[int]


def parts(
    channels: int, num_convs: int, widths: Sequence[int], *, normed: bool = True
) -> tuple[list[TowerConv], list[TowerConv]]:
    """Convolutions with weights at random, whose results are of the size of 1."""
    generator = seeded(1)

    def conv(outputs: int, *, has_norm: bool) -> TowerConv:
        weight = torch.randn(outputs, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
        norm = (
            0.5 + torch.rand(outputs, generator=generator),
            torch.randn(outputs, generator=generator),
        )
        bias = torch.randn(outputs, generator=generator)
        return TowerConv(weight=weight, bias=bias, norm=norm if has_norm else None)

    inner = [conv(channels, has_norm=normed) for _ in range(num_convs)]
    return inner, [conv(width, has_norm=False) for width in widths]


def call(
    sizes: Sequence[tuple[int, int]],
    *,
    n: int = 2,
    channels: int = 6,
    groups: int = 3,
    convs: int = 2,
    widths: Sequence[int] = (5, 1),
    normed: bool = True,
    products: torch.dtype = torch.float32,
) -> Call:
    """Random numbers whose results are of the size of 1."""
    generator = seeded(0)
    maps = [torch.randn(n, channels, *hw, generator=generator) for hw in sizes]
    inner, outputs = parts(channels, convs, widths, normed=normed)
    packed = pack_conv_tower(inner, outputs, num_groups=groups, products=products)
    return Call(
        [each.contiguous(memory_format=torch.channels_last) for each in maps],
        *(packed.numbers, packed.scales, packed.bias, packed.norm),
        *(packed.num_convs, packed.num_groups, packed.eps, list(packed.widths)),
    )


def integer_call(sizes: Sequence[tuple[int, int]], **rest: Any) -> Call:
    """The same for integers."""
    return call(sizes, products=torch.int16, **rest)


_PYRAMID = [(21, 34), (10, 17), (5, 9), (3, 5), (1, 1)]
_OPTIONS: dict[str, dict[str, Any]] = {
    "pyramid": {"sizes": _PYRAMID},
    "one-cell": {"sizes": [(1, 1)], "n": 1, "channels": 2, "groups": 1},
    "without-norm": {"sizes": [(6, 7), (3, 3)], "normed": False},
    "outputs-alone": {"sizes": [(6, 7), (3, 3)], "convs": 0},
    "one-convolution": {"sizes": [(6, 7)], "convs": 1},
    "three-convolutions": {"sizes": [(6, 7)], "convs": 3},
    "wide": {"sizes": [(5, 6)], "channels": 96, "groups": 32, "widths": (80, 4, 1, 17)},
    "no-vector": {"sizes": [(5, 6)], "channels": 70, "groups": 7, "widths": (70,)},
    "many-images": {"sizes": [(4, 5), (2, 2)], "n": 9},
    "no-image": {"sizes": [(4, 5)], "n": 0},
}


def _made(make: Callable[..., Call], options: dict[str, Any]) -> Callable[[torch.dtype], Call]:
    return lambda dtype: make(**options)


def _no_number(make: Callable[..., Call]) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        del dtype
        made = make([(9, 8), (4, 4)])
        made.maps[0][1, 2, 8, 7] = torch.nan
        return made

    return arguments


def _strided(dtype: torch.dtype) -> Call:
    del dtype
    made = call([(9, 8), (4, 4)])
    assert made.norm is not None
    maps = [each.repeat_interleave(2, dim=3)[..., ::2].contiguous() for each in made.maps]
    return made._replace(maps=maps, norm=made.norm.transpose(0, 1).contiguous().transpose(0, 1))


# Sums in another order; and rounding to integers that falls to the other side of a half.
_FLOAT, _STEP = 256, 2**14
CASES = (
    *(OpCase(name, "conv_tower", _made(call, each), _FLOAT) for name, each in _OPTIONS.items()),
    *(
        OpCase(f"{name}-int16", "conv_tower", _made(integer_call, each), _STEP)
        for name, each in _OPTIONS.items()
    ),
    OpCase("no-number", "conv_tower", _no_number(call), _FLOAT),
    OpCase("no-number-int16", "conv_tower", _no_number(integer_call), _STEP),
    OpCase("strided", "conv_tower", _strided, _FLOAT),
)


def _refused(**changes: Any) -> Callable[[], Call]:
    return lambda: call([(3, 4), (2, 2)])._replace(**changes)


REFUSALS = tuple(
    Refusal(name, "conv_tower", _refused(**changes), message)
    for name, changes, message in (
        ("no-maps", {"maps": []}, "maps: expected at least one"),
        ("a-map-of-3-axes", {"maps": [torch.zeros(6, 3, 4)]}, r"maps: .*got \(6, 3, 4\)"),
        (
            "other-channels",
            {"maps": [torch.zeros(1, 6, 3, 4), torch.zeros(1, 5, 3, 4)]},
            r"maps: .*got \(1, 5, 3, 4\)",
        ),
        ("double-maps", {"maps": [torch.zeros(1, 6, 3, 4).double()]}, "maps: expected"),
        ("no-cell", {"maps": [torch.zeros(1, 6, 0, 4)]}, "maps: expected at least one cell"),
        ("no-channel", {"maps": [torch.zeros(1, 0, 3, 4)]}, "maps: expected at least one channel"),
        ("short-weight", {"weight": torch.zeros(9)}, "weight: expected"),
        ("short-bias", {"bias": torch.zeros(9)}, "bias: expected"),
        ("other-norm", {"norm": torch.zeros(2, 2, 5)}, "norm: expected"),
        ("groups", {"num_groups": 4}, "num_groups: expected a divisor of 6, got 4"),
        ("no-groups", {"num_groups": 0}, "num_groups: expected a divisor of 6, got 0"),
        ("fewer-than-none", {"num_convs": -1}, "num_convs: expected at least 0, got -1"),
        ("no-widths", {"widths": []}, "widths: expected"),
        ("a-width-of-0", {"widths": [5, 0]}, "widths: expected"),
        ("scale-of-floats", {"scale": torch.zeros(9)}, "weight: expected"),
    )
)
