"""Cases of ``inverted_residual_int16``, whose kernel works on a few rows at a time.

What is between may be a step away where sums are rounded differently.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import pack_inverted_residual_int16
from tests.layers.op_cases.case import OpCase, Refusal
from tests.layers.op_cases.inverted_residual import SHAPES, block

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
    """What ``block`` draws, with a limit of 1."""
    maps, *parts = block(shape, between, outputs)
    return Call(maps, *pack_inverted_residual_int16(*parts, limit=1.0), outputs, **rest)


# Twice as many numbers fit between; and many channels that come in.
_SHAPES = SHAPES | {"wide": ((1, 8, 9, 403), 192, 16), "130-inputs": ((1, 130, 5, 6), 32, 16)}


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
