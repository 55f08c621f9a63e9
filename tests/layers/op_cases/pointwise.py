"""Cases of ``pointwise_conv_int16``, a kernel of the CPU alone, which works on 6 cells at a time.

It computes in float32 whatever the element type of the other operators' cases is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import pack_pointwise_weight_int16
from tests.layers.op_cases.case import OpCase, Refusal, seeded

INF = float("inf")
# Rounding to integers may fall to either side of a half: one step in 2^14.
_STEP = 2**13


class Call(NamedTuple):
    """Arguments of ``pointwise_conv_int16``, in order."""

    input: Tensor
    weight: Tensor
    scale: Tensor
    bias: Tensor
    addend: Tensor | None = None
    stride: int = 1
    least: float = -INF
    most: float = INF


def call(shape: tuple[int, int, int, int], num_outputs: int, **rest: Any) -> Call:
    """Random numbers whose results are of the size of 1."""
    maps = torch.randn(shape, generator=seeded(0)).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(num_outputs, shape[1], 1, 1, generator=seeded(1))
    weight /= max(shape[1], 1) ** 0.5
    bias = torch.randn(num_outputs, generator=seeded(2))
    return Call(maps, *pack_pointwise_weight_int16(weight), bias, **rest)


_SHAPES: dict[str, tuple[tuple[int, int, int, int], int]] = {
    "one-cell": ((1, 1, 1, 1), 1),
    "seven-cells": ((1, 16, 1, 7), 16),
    "two-images": ((2, 32, 3, 5), 48),
    # Groups of 1 to 4 vectors of 16 output channels, the last of them full or not.
    **{f"{k}-outputs": ((1, 16, 3, 3), k) for k in (15, 17, 32, 40, 64, 65, 80, 128)},
    **{f"{c}-inputs": ((1, c, 3, 3), 48) for c in (2, 15, 17, 33, 64, 65, 128, 150)},
    # More than one block of cells, and more than one task a block.
    "many-cells": ((1, 8, 70, 50), 16),
    "few-cells": ((1, 80, 1, 3), 272),
}


def _made(name: str, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call(*_SHAPES[name], **rest)


def _with_addend(change: Callable[[Tensor], Tensor], **rest: Any) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        del dtype
        made = call((2, 70, 9, 14), 20, **rest)
        height, width = -(-9 // made.stride), -(-14 // made.stride)
        addend = torch.randn(2, 20, height, width, generator=seeded(3))
        return made._replace(input=change(made.input), addend=change(addend))

    return arguments


def _of(change: Callable[[Tensor], Tensor]) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        del dtype
        made = call((2, 70, 9, 14), 20)
        return made._replace(input=change(made.input))

    return arguments


def _one_that_is_none(maps: Tensor) -> Tensor:
    maps[0, 3, 1, 1], maps[1, 69, 8, 13] = torch.nan, INF
    return maps


CASES = (
    *(OpCase(name, "pointwise_conv_int16", _made(name), _STEP) for name in _SHAPES),
    *(
        OpCase(name, "pointwise_conv_int16", arguments, _STEP)
        for name, arguments in (
            ("relu", _made("two-images", least=0.0)),
            ("relu6", _made("two-images", least=0.0, most=0.5)),
            ("stride-2", _made("two-images", stride=2)),
            ("stride-3", _made("many-cells", stride=3)),
            ("one-cell-of-many", _made("many-cells", stride=99)),
            ("addend", _with_addend(Tensor.clone, least=0.0)),
            ("addend-of-few", _with_addend(Tensor.clone, stride=2)),
            ("channels-first", _of(Tensor.contiguous)),
            ("strided", _of(lambda maps: maps[..., ::2].flip(2))),
            ("zeros", _of(torch.zeros_like)),
            ("tiny", _of(lambda maps: maps * 1e-36)),
            ("no-numbers", _of(_one_that_is_none)),
        )
    ),
    OpCase("bfloat16", "pointwise_conv_int16", _with_addend(Tensor.bfloat16), 2**17),
    *(
        OpCase(f"empty-{'-'.join(map(str, shape))}-{k}", "pointwise_conv_int16", made)
        for shape, k in (((0, 4, 3, 5), 7), ((2, 0, 3, 5), 7), ((2, 4, 3, 5), 0), ((2, 4, 0, 5), 7))
        for made in [lambda dtype, s=shape, k=k: call(s, k)]
    ),
)


def _changed(**changes: Any) -> Callable[[], Call]:
    return lambda: call((1, 5, 3, 5), 6)._replace(**changes)


REFUSALS = tuple(
    Refusal(name, "pointwise_conv_int16", _changed(**changes), message)
    for name, changes, message in (
        ("flat", {"input": torch.zeros(4, 3)}, r"input: .*got \(4, 3\)"),
        ("half-precision", {"input": torch.zeros(1, 5, 3, 5).half()}, r"input: expected .*Half"),
        ("other-channels", {"input": torch.zeros(1, 7, 3, 5)}, r"weight: .*\[ 128 \]"),
        ("float-weight", {"weight": torch.zeros(96)}, r"weight: expected Short"),
        ("two-scales", {"scale": torch.zeros(32)}, r"scale: .*\[ 16 \]"),
        ("double-scale", {"scale": torch.zeros(16).double()}, r"scale: expected Float"),
        ("wide-bias", {"bias": torch.zeros(6, 1)}, r"bias: .*got \(6, 1\)"),
        ("double-bias", {"bias": torch.zeros(6).double()}, r"bias: expected Float"),
        ("other-addend", {"addend": torch.zeros(1, 6, 5, 3)}, r"addend: .*got \(1, 6, 5, 3\)"),
        ("double-addend", {"addend": torch.zeros(1, 6, 3, 5).double()}, r"addend: expected Float"),
        ("no-stride", {"stride": 0}, r"stride: expected at least 1"),
        ("nothing-between", {"least": 1.0, "most": 0.0}, r"least: expected at most 0"),
        ("no-limit", {"least": float("nan")}, r"least: expected at most"),
    )
)
