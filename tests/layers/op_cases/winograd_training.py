"""Cases of ``winograd_pack`` and ``winograd_conv3x3_weight_grad``, of the CPU alone.

They compute in float32 whatever the element type of the other operators' cases is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded


class Pack(NamedTuple):
    """Arguments of ``winograd_pack``, in order."""

    weight: Tensor
    turned: bool


class Gradient(NamedTuple):
    """Arguments of ``winograd_conv3x3_weight_grad``, in order."""

    grad: Tensor
    input: Tensor
    padding: int = 1


def pack(num_outputs: int, num_channels: int, *, turned: bool = False) -> Pack:
    """Random weights of the size of 1."""
    return Pack(torch.randn(num_outputs, num_channels, 3, 3, generator=seeded(0)), turned)


def gradient(shape: tuple[int, int, int, int], num_outputs: int, padding: int = 1) -> Gradient:
    """Random maps whose gradients are of the size of 1."""
    n, c, h, w = shape
    height, width = h + 2 * padding - 2, w + 2 * padding - 2
    grad = torch.randn(n, num_outputs, height, width, generator=seeded(1))
    grad /= max(grad[:, :1].numel(), 1) ** 0.5
    maps = [grad, torch.randn(n, c, h, w, generator=seeded(0))]
    return Gradient(*(x.contiguous(memory_format=torch.channels_last) for x in maps), padding)


_SHAPES: dict[str, tuple[tuple[int, int, int, int], int]] = {
    "one-cell": ((1, 1, 1, 1), 1),
    "one-tile": ((1, 16, 4, 4), 16),
    "a-cell-more": ((1, 16, 5, 9), 16),
    "a-cell-less": ((2, 16, 3, 7), 16),
    # Groups of 1 to 4 vectors of 16 channels, the last of them full or not.
    **{f"{c}-inputs": ((1, c, 6, 6), 16) for c in (2, 15, 17, 32, 40, 64, 65, 80, 128)},
    **{f"{k}-outputs": ((1, 16, 6, 6), k) for k in (2, 5, 17, 33)},
    # More than one chunk, the last one of less than a panel or more.
    "many-tiles": ((1, 16, 70, 50), 16),
    "many-images": ((110, 5, 7, 4), 3),
}


def _packed(*sizes: int, turned: bool) -> Callable[[torch.dtype], Pack]:
    return lambda dtype: pack(*sizes, turned=turned)


def _made(name: str, padding: int = 1) -> Callable[[torch.dtype], Gradient]:
    return lambda dtype: gradient(*_SHAPES[name], padding)


def _bfloat16(name: str) -> Callable[[torch.dtype], Gradient]:
    def arguments(dtype: torch.dtype) -> Gradient:
        del dtype
        grad, maps, padding = gradient(*_SHAPES[name])
        return Gradient(grad.bfloat16(), maps.bfloat16(), padding)

    return arguments


def _strided_weight(dtype: torch.dtype) -> Pack:
    del dtype
    return Pack(pack(10, 12).weight.transpose(2, 3)[::2, 1:], True)


def _strided(dtype: torch.dtype) -> Gradient:
    del dtype
    made = gradient((4, 12, 10, 14), 20)
    return Gradient(made.grad[::2, ::3, 1:8, ::2], made.input[::2, :, 1:8, ::2])


def _first(dtype: torch.dtype) -> Gradient:
    del dtype
    made = gradient((2, 24, 9, 11), 20)
    return Gradient(made.grad.contiguous(), made.input.contiguous())


PACK, GRADIENT = "winograd_pack", "winograd_conv3x3_weight_grad"
CASES = (
    *(
        OpCase(f"{k}-of-{c}{'-turned' * turned}", PACK, _packed(k, c, turned=turned), tolerance=16)
        for k, c in ((1, 1), (16, 5), (70, 3), (3, 70), (130, 17))
        for turned in (False, True)
    ),
    OpCase("strided", PACK, _strided_weight, tolerance=16),
    *(
        OpCase(f"empty-{k}-{c}{'-turned' * turned}", PACK, _packed(k, c, turned=turned))
        for k, c in ((0, 4), (4, 0))
        for turned in (False, True)
    ),
    *(OpCase(name, GRADIENT, _made(name), tolerance=256) for name in _SHAPES),
    *(
        OpCase(f"padding-{padding}", GRADIENT, _made("a-cell-less", padding), tolerance=256)
        for padding in (0, 2, 3)
    ),
    OpCase("strided", GRADIENT, _strided, tolerance=256),
    OpCase("channels-first", GRADIENT, _first, tolerance=256),
    *(
        OpCase(f"bfloat16-{name}", GRADIENT, _bfloat16(name), tolerance=256)
        for name in ("one-cell", "many-tiles", "17-inputs", "17-outputs")
    ),
    *(
        OpCase(f"empty-{'-'.join(map(str, shape))}-{k}", GRADIENT, made)
        for shape, k in (((0, 4, 3, 5), 7), ((2, 0, 3, 5), 7), ((2, 4, 3, 5), 0))
        for made in [lambda dtype, s=shape, k=k: gradient(s, k)]
    ),
)


def _changed(**changes: Any) -> Callable[[], Gradient]:
    return lambda: gradient((1, 4, 3, 5), 6)._replace(**changes)


REFUSALS = (
    *(
        Refusal(name, PACK, lambda weight=weight: Pack(weight, True), message)
        for name, weight, message in (
            ("flat", torch.zeros(4, 9), r"weight: .*got \(4, 9\)"),
            ("five-taps", torch.zeros(4, 3, 5, 5), r"weight: .*got \(4, 3, 5, 5\)"),
            ("double", torch.zeros(4, 3, 3, 3).double(), r"weight: expected Float"),
        )
    ),
    *(
        Refusal(name, GRADIENT, _changed(**changes), message)
        for name, changes, message in (
            ("flat", {"input": torch.zeros(4, 3)}, r"input: .*got \(4, 3\)"),
            (
                "half-precision",
                {"input": torch.zeros(1, 4, 3, 5).half()},
                r"input: expected .*Half",
            ),
            ("double", {"input": torch.zeros(1, 4, 3, 5).double()}, r"input: expected .*Double"),
            ("other-type", {"grad": torch.zeros(1, 6, 3, 5).bfloat16()}, r"grad: expected Float"),
            ("other-height", {"grad": torch.zeros(1, 6, 4, 5)}, r"grad: .*got \(1, 6, 4, 5\)"),
            ("other-images", {"grad": torch.zeros(2, 6, 3, 5)}, r"grad: .*got \(2, 6, 3, 5\)"),
            ("negative-padding", {"padding": -1}, r"padding: expected at least 0"),
            ("huge-padding", {"padding": 2**62}, r"padding: expected at least 0"),
            (
                "two-rows",
                {"input": torch.zeros(1, 4, 2, 5), "padding": 0},
                r"padding: .*got 0 for maps of 2 x 5",
            ),
        )
    ),
)
