"""Cases of ``inverted_residual_int16``, whose kernel works on a few rows at a time.

What is between may be a step away where sums are rounded differently.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import pack_inverted_residual_int16
from tests.layers.op_cases.case import OpCase, Refusal, seeded

_TOLERANCE = 2**14


class Call(NamedTuple):
    """Arguments of ``inverted_residual_int16``, in order."""

    input: Tensor
    expansion: Tensor
    depthwise: Tensor
    projection: Tensor
    factors: Tensor
    out_channels: int
    stride: int = 1
    adds_input: bool = False


def call(shape: tuple[int, int, int, int], between: int, outputs: int, **rest: Any) -> Call:
    """Random numbers whose results are of the size of 1, some of them beyond the limit."""
    generator, channels = seeded(0), shape[1]

    def drawn(*sides: int) -> tuple[Tensor, Tensor]:
        size = max(torch.Size(sides[1:]).numel(), 1) ** 0.5
        weight = torch.randn(sides, generator=generator) / size
        return weight, torch.randn(sides[0], generator=generator) / 2

    maps = torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)
    packed = pack_inverted_residual_int16(
        drawn(between, channels, 1, 1), drawn(between, 1, 3, 3), drawn(outputs, between, 1, 1), 1.0
    )
    return Call(maps, *packed, outputs, **rest)


_SHAPES: dict[str, tuple[tuple[int, int, int, int], int, int]] = {
    "one-cell": ((1, 1, 1, 1), 1, 1),
    "one-row": ((1, 16, 1, 9), 32, 16),
    "one-column": ((2, 16, 7, 1), 32, 16),
    "even": ((1, 16, 6, 8), 96, 24),
    "odd": ((1, 24, 7, 9), 144, 32),
    # Groups of 1 to 4 vectors of 16 channels between, and of those that leave.
    **{f"{e}-between": ((1, 16, 5, 6), e, 16) for e in (17, 48, 64, 160)},
    **{f"{k}-outputs": ((1, 16, 5, 6), 32, k) for k in (15, 40, 64, 65)},
    **{f"{c}-inputs": ((1, c, 5, 6), 32, 16) for c in (2, 15, 33, 130)},
    # Rows in parts, a few of them at a time, and bands that begin within an image.
    "wide": ((1, 8, 9, 403), 192, 16),
    "high": ((1, 8, 133, 21), 64, 16),
    "many-images": ((30, 16, 3, 4), 32, 16),
}


def _made(name: str, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call(*_SHAPES[name], **rest)


def _bfloat16(name: str, **rest: Any) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        del dtype
        made = call(*_SHAPES[name], **rest)
        return made._replace(input=made.input.bfloat16())

    return arguments


def _first(dtype: torch.dtype) -> Call:
    del dtype
    made = call((2, 24, 9, 11), 20, 24, adds_input=True)
    return made._replace(input=made.input.contiguous())


CASES = (
    *(
        OpCase(f"{name}-stride-{stride}", "inverted_residual_int16", made, tolerance=_TOLERANCE)
        for name in _SHAPES
        for stride in (1, 2)
        for made in [_made(name, stride=stride)]
    ),
    *(
        OpCase(f"adds-input-{c}", "inverted_residual_int16", made, tolerance=_TOLERANCE)
        for c in (1, 24, 96)
        for made in [lambda dtype, c=c: call((2, c, 7, 9), 6 * c, c, adds_input=True)]
    ),
    OpCase("channels-first", "inverted_residual_int16", _first, tolerance=_TOLERANCE),
    *(
        # Numbers rounded to 8 bits may end up as neighbours.
        OpCase(f"bfloat16-{name}", "inverted_residual_int16", _bfloat16(name, stride=stride), 2**17)
        for name, stride in (("one-cell", 1), ("odd", 2), ("wide", 1))
    ),
    *(
        OpCase(
            f"empty-{'-'.join(map(str, shape))}-{k}", "inverted_residual_int16", made, _TOLERANCE
        )
        for shape, k in (((0, 4, 3, 5), 7), ((2, 0, 3, 5), 7), ((2, 4, 3, 5), 0))
        for made in [lambda dtype, s=shape, k=k: call(s, 32, k)]
    ),
)


def _changed(**changes: Any) -> Callable[[], Call]:
    return lambda: call((1, 4, 3, 5), 32, 6)._replace(**changes)


REFUSALS = tuple(
    Refusal(name, "inverted_residual_int16", _changed(**changes), message)
    for name, changes, message in (
        ("flat", {"input": torch.zeros(4, 3)}, r"input: .*got \(4, 3\)"),
        ("half-precision", {"input": torch.zeros(1, 4, 3, 5).half()}, r"input: expected .*Half"),
        ("no-row", {"input": torch.zeros(1, 4, 0, 5)}, r"input: expected .*\(1, 4, 0, 5\)"),
        ("other-channels", {"input": torch.zeros(1, 5, 3, 5)}, r"expansion: .*\[ 192 \]"),
        ("float-expansion", {"expansion": torch.zeros(128)}, r"expansion: expected Sh"),
        ("odd-depthwise", {"depthwise": torch.zeros(400)}, r"depthwise: .*multiple of 384.*400"),
        ("nothing-between", {"depthwise": torch.zeros(0)}, r"depthwise: .*multiple of 384.*0"),
        ("float-depthwise", {"depthwise": torch.zeros(768)}, r"depthwise: expected Sh"),
        ("wide-projection", {"projection": torch.zeros(33, 16)}, r"projection: .*\[ 512 \]"),
        ("float-projection", {"projection": torch.zeros(512)}, r"projection: expected Sh"),
        ("few-factors", {"factors": torch.zeros(9)}, r"factors: .*\[ 160 \]"),
        ("double-factors", {"factors": torch.zeros(160).double()}, r"factors: expected Fl"),
        ("other-outputs", {"out_channels": 17}, r"projection: .*\[ 1024 \]"),
        ("negative-outputs", {"out_channels": -1}, r"out_channels: expected at least 0"),
        ("huge-outputs", {"out_channels": 2**62}, r"out_channels: expected fewer than 2\^40"),
        ("stride", {"stride": 3}, r"stride: expected 1 or 2, got 3"),
        ("other-sum", {"adds_input": True}, r"adds_input: expected stride 1 .*got .*6 channels"),
    )
)
