"""Cases of ``winograd_conv3x3``: the kernel, of the CPU alone, works on tiles of 4 x 4 results.

It computes in float32 whatever the element type of the other operators' cases is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import pack_winograd_weight
from tests.layers.op_cases.case import OpCase, Refusal, seeded

INF = float("inf")


class Call(NamedTuple):
    """Arguments of ``winograd_conv3x3``, in order."""

    input: Tensor
    weight: Tensor
    bias: Tensor
    padding: int = 1
    relu: bool = False


def call(shape: tuple[int, int, int, int], num_outputs: int, **rest: Any) -> Call:
    """Random numbers whose results are of the size of 1."""
    maps = torch.randn(shape, generator=seeded(0))
    weight = torch.randn(num_outputs, shape[1], 3, 3, generator=seeded(1))
    weight /= max(9 * shape[1], 1) ** 0.5
    bias = torch.randn(num_outputs, generator=seeded(2))
    maps = maps.contiguous(memory_format=torch.channels_last)
    return Call(maps, pack_winograd_weight(weight), bias, **rest)


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
    "many-images": ((30, 16, 4, 5), 16),
}


def _made(name: str, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call(*_SHAPES[name], **rest)


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
)


def _changed(**changes: Any) -> Callable[[], Call]:
    return lambda: call((1, 4, 3, 5), 6)._replace(**changes)


REFUSALS = tuple(
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
