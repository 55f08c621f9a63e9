"""Cases of ``inverted_residual``: the kernel, of the CPU alone, works on a few rows at a time.

It computes in float32 whatever the element type of the other operators' cases is.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import pack_inverted_residual
from tests.layers.op_cases.case import OpCase, Refusal, seeded

INF = float("inf")


class Call(NamedTuple):
    """Arguments of ``inverted_residual``, in order."""

    input: Tensor
    expansion: Tensor | None
    depthwise: Tensor
    projection: Tensor
    out_channels: int
    stride: int = 1
    adds_input: bool = False
    limit: float = 1.0


class Block(NamedTuple):
    """Maps, and weights and what is added of each convolution."""

    maps: Tensor
    expansion: tuple[Tensor, Tensor]
    depthwise: tuple[Tensor, Tensor]
    projection: tuple[Tensor, Tensor]


def block(shape: tuple[int, int, int, int], between: int, outputs: int) -> Block:
    """Random numbers whose results are of the size of 1, some of them beyond the limit of 1."""
    generator, channels = seeded(0), shape[1]

    def drawn(*sides: int) -> tuple[Tensor, Tensor]:
        weight = torch.randn(sides, generator=generator) / max(prod(sides[1:]), 1) ** 0.5
        return weight, torch.randn(sides[0], generator=generator) / 2

    maps = torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)
    kernels = ((between, channels, 1, 1), (between, 1, 3, 3), (outputs, between, 1, 1))
    return Block(maps, *(drawn(*sides) for sides in kernels))


def call(
    shape: tuple[int, int, int, int],
    between: int,
    outputs: int,
    *,
    expands: bool = True,
    **rest: Any,
) -> Call:
    """What ``block`` draws, with a limit of 1."""
    maps, expansion, *others = block(shape, between, outputs)
    packed = pack_inverted_residual(expansion if expands else None, *others)
    return Call(maps, *packed, outputs, **rest)


SHAPES: dict[str, tuple[tuple[int, int, int, int], int, int]] = {
    "one-cell": ((1, 1, 1, 1), 1, 1),
    "one-row": ((1, 16, 1, 9), 32, 16),
    "one-column": ((2, 16, 7, 1), 32, 16),
    "even": ((1, 16, 6, 8), 96, 24),
    "odd": ((1, 24, 7, 9), 144, 32),
    # Groups of 1 to 4 vectors of 16 channels between, and of those that leave.
    **{f"{e}-between": ((1, 16, 5, 6), e, 16) for e in (15, 17, 48, 64, 80, 144, 160)},
    **{f"{k}-outputs": ((1, 16, 5, 6), 32, k) for k in (15, 17, 40, 48, 64, 65, 160)},
    **{f"{c}-inputs": ((1, c, 5, 6), 32, 16) for c in (2, 15, 33)},
    # Rows in parts, a few of them at a time, and bands that begin within an image.
    "wide": ((1, 8, 9, 203), 192, 16),
    "high": ((1, 8, 133, 21), 64, 16),
    "many-images": ((30, 16, 3, 4), 32, 16),
}


def _made(name: str, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call(*SHAPES[name], **rest)


def _unexpanded(channels: int, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call((2, channels, 6, 9), channels, 20, expands=False, **rest)


def _bfloat16(name: str, **rest: Any) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        del dtype
        made = call(*SHAPES[name], **rest)
        return made._replace(input=made.input.bfloat16())

    return arguments


def _strided(dtype: torch.dtype) -> Call:
    del dtype
    made = call((4, 12, 10, 14), 20, 20)
    return made._replace(input=made.input[::2, :, 1:8, ::2])


def _first(dtype: torch.dtype) -> Call:
    del dtype
    made = call((2, 24, 9, 11), 20, 24, adds_input=True)
    return made._replace(input=made.input.contiguous())


CASES = (
    *(
        OpCase(f"{name}-stride-{stride}", "inverted_residual", made, tolerance=64)
        for name in SHAPES
        for stride in (1, 2)
        for made in [_made(name, stride=stride)]
    ),
    *(
        OpCase(f"{channels}-unexpanded-stride-{stride}", "inverted_residual", made, tolerance=64)
        for channels in (3, 16, 72)
        for stride in (1, 2)
        for made in [_unexpanded(channels, stride=stride)]
    ),
    *(
        OpCase(f"adds-input-{c}", "inverted_residual", made, tolerance=64)
        for c in (1, 24, 96)
        for made in [lambda dtype, c=c: call((2, c, 7, 9), 6 * c, c, adds_input=True)]
    ),
    OpCase("no-limit", "inverted_residual", _made("odd", limit=INF), tolerance=64),
    OpCase("strided", "inverted_residual", _strided, tolerance=64),
    OpCase("channels-first", "inverted_residual", _first, tolerance=64),
    *(
        # Numbers rounded to 8 bits may end up as neighbours.
        OpCase(f"bfloat16-{name}", "inverted_residual", _bfloat16(name, stride=stride), 2**17)
        for name, stride in (("one-cell", 1), ("odd", 2), ("17-outputs", 1), ("wide", 1))
    ),
    *(
        OpCase(f"empty-{'-'.join(map(str, shape))}-{k}", "inverted_residual", made, tolerance=64)
        for shape, k in (((0, 4, 3, 5), 7), ((2, 0, 3, 5), 7), ((2, 4, 3, 5), 0))
        for made in [lambda dtype, s=shape, k=k: call(s, 32, k)]
    ),
)


def _changed(**changes: Any) -> Callable[[], Call]:
    return lambda: call((1, 4, 3, 5), 32, 6)._replace(**changes)


REFUSALS = tuple(
    Refusal(name, "inverted_residual", _changed(**changes), message)
    for name, changes, message in (
        ("flat", {"input": torch.zeros(4, 3)}, r"input: .*got \(4, 3\)"),
        ("half-precision", {"input": torch.zeros(1, 4, 3, 5).half()}, r"input: expected .*Half"),
        ("double", {"input": torch.zeros(1, 4, 3, 5).double()}, r"input: expected .*Double"),
        ("no-row", {"input": torch.zeros(1, 4, 0, 5)}, r"input: expected .*\(1, 4, 0, 5\)"),
        ("other-channels", {"input": torch.zeros(1, 5, 3, 5)}, r"expansion: .*\[ 192 \]"),
        ("plain-expansion", {"expansion": torch.zeros(32, 5)}, r"expansion: .*got \(32, 5\)"),
        ("double-expansion", {"expansion": torch.zeros(160).double()}, r"expansion: expected Fl"),
        (
            "no-expansion",
            {"expansion": None},
            r"depthwise: expected weights of 16 channels, got 32",
        ),
        ("odd-depthwise", {"depthwise": torch.zeros(330)}, r"depthwise: .*multiple of 160.*330"),
        ("nothing-between", {"depthwise": torch.zeros(0)}, r"depthwise: .*multiple of 160.*0"),
        ("double-depthwise", {"depthwise": torch.zeros(320).double()}, r"depthwise: expected Fl"),
        ("wide-projection", {"projection": torch.zeros(33, 16)}, r"projection: .*\[ 528 \]"),
        ("double-projection", {"projection": torch.zeros(528).double()}, r"projection: expected F"),
        ("other-outputs", {"out_channels": 17}, r"projection: .*\[ 1056 \]"),
        ("negative-outputs", {"out_channels": -1}, r"out_channels: expected at least 0"),
        ("huge-outputs", {"out_channels": 2**62}, r"out_channels: expected fewer than 2\^40"),
        ("stride", {"stride": 3}, r"stride: expected 1 or 2, got 3"),
        ("no-stride", {"stride": 0}, r"stride: expected 1 or 2, got 0"),
        ("other-sum", {"adds_input": True}, r"adds_input: expected stride 1 .*got .*6 channels"),
        ("no-limit", {"limit": float("nan")}, r"limit: expected a positive number, got nan"),
    )
)
