"""Cases of ``winograd_conv3x3`` and ``winograd_conv3x3_int16``, kernels of the CPU alone.

They work on tiles of 4 x 4 results, and compute in float32 whatever the element type of the other
operators' cases is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import pack_winograd_weight, pack_winograd_weight_int16
from tests.layers.op_cases.case import OpCase, Refusal, seeded

INF = float("inf")


class Call(NamedTuple):
    """Arguments of ``winograd_conv3x3``, in order."""

    input: Tensor
    weight: Tensor
    bias: Tensor
    padding: int = 1
    relu: bool = False


class IntegerCall(NamedTuple):
    """Arguments of ``winograd_conv3x3_int16``, in order."""

    input: Tensor
    weight: Tensor
    scale: Tensor
    bias: Tensor
    padding: int = 1
    relu: bool = False


def _numbers(shape: tuple[int, int, int, int], num_outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, weights and bias at random, whose results are of the size of 1."""
    maps = torch.randn(shape, generator=seeded(0))
    weight = torch.randn(num_outputs, shape[1], 3, 3, generator=seeded(1))
    weight /= max(9 * shape[1], 1) ** 0.5
    bias = torch.randn(num_outputs, generator=seeded(2))
    return maps.contiguous(memory_format=torch.channels_last), weight, bias


def call(shape: tuple[int, int, int, int], num_outputs: int, **rest: Any) -> Call:
    """Random numbers whose results are of the size of 1."""
    maps, weight, bias = _numbers(shape, num_outputs)
    return Call(maps, pack_winograd_weight(weight), bias, **rest)


def integer_call(shape: tuple[int, int, int, int], num_outputs: int, **rest: Any) -> IntegerCall:
    """The same for integers."""
    maps, weight, bias = _numbers(shape, num_outputs)
    return IntegerCall(maps, *pack_winograd_weight_int16(weight), bias, **rest)


_SHAPES: dict[str, tuple[tuple[int, int, int, int], int]] = {
    "one-cell": ((1, 1, 1, 1), 1),
    "one-tile": ((1, 16, 4, 4), 16),
    "a-cell-more": ((1, 16, 5, 9), 16),
    "a-cell-less": ((2, 16, 3, 7), 16),
    "roi": ((3, 32, 14, 14), 48),
    # Groups of 1 to 4 vectors of 16 output channels, the last of them full or not.
    **{f"{k}-outputs": ((1, 16, 6, 6), k) for k in (15, 17, 32, 40, 64, 65, 80, 128)},
    **{f"{c}-inputs": ((1, c, 6, 6), 16) for c in (2, 15, 17, 33)},
    # More than one block of tiles, and more than one task a block.
    "many-tiles": ((1, 16, 70, 50), 16),
    "few-tiles": ((1, 80, 3, 3), 272),
    # More than one sum over channels, the last of them of all or of few.
    **{f"{c}-inputs": ((1, c, 6, 6), 48) for c in (64, 65, 128, 150)},
    "many-images": ((30, 16, 4, 5), 16),
}


def _made(name: str, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call(*_SHAPES[name], **rest)


def _integers(name: str, **rest: Any) -> Callable[[torch.dtype], IntegerCall]:
    return lambda dtype: integer_call(*_SHAPES[name], **rest)


def _integers_of(change: Callable[[Tensor], Tensor]) -> Callable[[torch.dtype], IntegerCall]:
    def arguments(dtype: torch.dtype) -> IntegerCall:
        del dtype
        made = integer_call((2, 70, 9, 14), 20)
        return made._replace(input=change(made.input))

    return arguments


def _one_that_is_none(maps: Tensor) -> Tensor:
    maps[0, 3, 1, 1], maps[1, 69, 8, 13] = torch.nan, INF
    return maps


# Rounding to integers may fall to either side of a half: one step in 2^14.
_STEP = 2**13
_INTEGER_CASES = (
    *(OpCase(name, "winograd_conv3x3_int16", _integers(name), _STEP) for name in _SHAPES),
    OpCase("relu", "winograd_conv3x3_int16", _integers("roi", relu=True), _STEP),
    OpCase("padding", "winograd_conv3x3_int16", _integers("roi", padding=3), _STEP),
    OpCase("bfloat16", "winograd_conv3x3_int16", _integers_of(Tensor.bfloat16), 2**17),
    *(
        OpCase(name, "winograd_conv3x3_int16", _integers_of(change), _STEP)
        for name, change in (
            ("channels-first", Tensor.contiguous),
            ("strided", lambda maps: maps[..., ::2].flip(2)),
            ("zeros", torch.zeros_like),
            ("tiny", lambda maps: maps * 1e-36),
            ("no-numbers", _one_that_is_none),
        )
    ),
    *(
        OpCase(f"empty-{'-'.join(map(str, shape))}-{k}", "winograd_conv3x3_int16", made)
        for shape, k in (((0, 4, 3, 5), 7), ((2, 0, 3, 5), 7), ((2, 4, 3, 5), 0))
        for made in [lambda dtype, s=shape, k=k: integer_call(s, k)]
    ),
)


def _bfloat16(name: str) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        del dtype
        made = call(*_SHAPES[name], relu=True)
        return made._replace(input=made.input.bfloat16())

    return arguments


def _strided(dtype: torch.dtype) -> Call:
    del dtype
    made = call((4, 12, 10, 14), 20)
    return made._replace(input=made.input[::2, :, 1:8, ::2], bias=made.bias.flip(0))


def _first(dtype: torch.dtype) -> Call:
    del dtype
    made = call((2, 24, 9, 11), 20)
    return made._replace(input=made.input.contiguous())


CASES = (
    *(OpCase(name, "winograd_conv3x3", _made(name), tolerance=256) for name in _SHAPES),
    *(
        OpCase(f"padding-{padding}", "winograd_conv3x3", _made("roi", padding=padding), 256)
        for padding in (0, 2, 3)
    ),
    OpCase("relu", "winograd_conv3x3", _made("roi", relu=True), tolerance=256),
    OpCase("strided", "winograd_conv3x3", _strided, tolerance=256),
    OpCase("channels-first", "winograd_conv3x3", _first, tolerance=256),
    *(
        # Numbers rounded to 8 bits may end up as neighbours.
        OpCase(f"bfloat16-{name}", "winograd_conv3x3", _bfloat16(name), 2**17)
        for name in ("one-cell", "roi", "17-inputs", "17-outputs")
    ),
    *(
        OpCase(f"empty-{'-'.join(map(str, shape))}-{k}", "winograd_conv3x3", made)
        for shape, k in (((0, 4, 3, 5), 7), ((2, 0, 3, 5), 7), ((2, 4, 3, 5), 0))
        for made in [lambda dtype, s=shape, k=k: call(s, k)]
    ),
    *_INTEGER_CASES,
)


def _changed(**changes: Any) -> Callable[[], Call]:
    return lambda: call((1, 4, 3, 5), 6)._replace(**changes)


def _changed_integers(**changes: Any) -> Callable[[], IntegerCall]:
    return lambda: integer_call((1, 5, 3, 5), 6)._replace(**changes)


_INTEGER_REFUSALS = tuple(
    Refusal(name, "winograd_conv3x3_int16", _changed_integers(**changes), message)
    for name, changes, message in (
        ("flat", {"input": torch.zeros(4, 3)}, r"input: .*got \(4, 3\)"),
        ("half-precision", {"input": torch.zeros(1, 5, 3, 5).half()}, r"input: expected .*Half"),
        ("other-channels", {"input": torch.zeros(1, 7, 3, 5)}, r"weight: .*\[ 4608 \]"),
        ("many-channels", {"input": torch.zeros(1, 70, 3, 5)}, r"weight: .*\[ 40320 \]"),
        ("float-weight", {"weight": torch.zeros(3456)}, r"weight: expected Short"),
        ("two-scales", {"scale": torch.zeros(1152)}, r"scale: .*\[ 576 \]"),
        ("double-scale", {"scale": torch.zeros(576).double()}, r"scale: expected Float"),
        ("wide-bias", {"bias": torch.zeros(6, 1)}, r"bias: .*got \(6, 1\)"),
        ("double-bias", {"bias": torch.zeros(6).double()}, r"bias: expected Float"),
        ("negative-padding", {"padding": -1}, r"padding: expected at least 0"),
    )
)

REFUSALS = _INTEGER_REFUSALS + tuple(
    Refusal(name, "winograd_conv3x3", _changed(**changes), message)
    for name, changes, message in (
        ("flat", {"input": torch.zeros(4, 3)}, r"input: .*got \(4, 3\)"),
        ("half-precision", {"input": torch.zeros(1, 4, 3, 5).half()}, r"input: expected .*Half"),
        ("double", {"input": torch.zeros(1, 4, 3, 5).double()}, r"input: expected .*Double"),
        ("other-channels", {"input": torch.zeros(1, 5, 3, 5)}, r"weight: .*\[ 2880 \]"),
        ("plain-weight", {"weight": torch.zeros(6, 4, 3, 3)}, r"weight: .*got \(6, 4, 3, 3\)"),
        ("double-weight", {"weight": torch.zeros(2304).double()}, r"weight: expected Float"),
        ("wide-bias", {"bias": torch.zeros(6, 1)}, r"bias: .*got \(6, 1\)"),
        ("double-bias", {"bias": torch.zeros(6).double()}, r"bias: expected Float"),
        ("negative-padding", {"padding": -1}, r"padding: expected at least 0"),
        ("huge-padding", {"padding": 2**62}, r"padding: expected at least 0"),
        (
            "two-rows",
            {"input": torch.zeros(1, 4, 2, 5), "padding": 0},
            r"padding: .*got 0 for maps of 2 x 5",
        ),
    )
)
