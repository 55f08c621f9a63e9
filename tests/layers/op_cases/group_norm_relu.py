"""Cases of ``group_norm_relu``: the CPU kernel works in pieces of 32768 values."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded

NAN, INF = float("nan"), float("inf")


class Call(NamedTuple):
    """Arguments of ``group_norm_relu``, in order."""

    input: Tensor
    num_groups: int
    weight: Tensor
    bias: Tensor
    eps: float = 1e-5
    relu: bool = True


def call(dtype: torch.dtype, shape: tuple[int, int, int, int], num_groups: int) -> Call:
    """Numbers around another mean and of another size in each channel."""
    of_channel = torch.rand(3, shape[1], generator=seeded(1), dtype=torch.float64) + 0.5
    numbers = torch.randn(shape, generator=seeded(shape[1]), dtype=torch.float64)
    maps = numbers * of_channel[0, :, None, None] + of_channel[1, :, None, None]
    precise = torch.promote_types(dtype, torch.float32)
    return Call(maps.to(dtype), num_groups, of_channel[2].to(precise), -of_channel[0].to(precise))


_SHAPES = {
    "one-value": ((1, 1, 1, 1), 1),
    "one-pixel": ((2, 8, 1, 1), 4),
    "a-group-a-channel": ((2, 5, 3, 7), 5),
    "one-group": ((2, 6, 5, 9), 1),
    "towers": ((2, 64, 13, 21), 32),
    "odd-channels": ((1, 39, 17, 19), 13),
    "many-channels": ((1, 300, 2, 3), 30),
    # Around one run of 256 values, and pieces of 32768.
    **{f"{width}-wide": ((1, 2, 1, width), 2) for width in (255, 256, 257)},
    "two-pieces": ((1, 6, 99, 60), 3),
    "large-groups": ((2, 4, 181, 183), 2),
}


def _laid_out(name: str, layout: torch.memory_format, **rest: Any) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        made = call(dtype, *_SHAPES[name])
        return made._replace(input=made.input.contiguous(memory_format=layout), **rest)

    return arguments


def _bfloat16(name: str, layout: torch.memory_format) -> Callable[[torch.dtype], Call]:
    """Of 16 bits where the others are of 32."""

    def arguments(dtype: torch.dtype) -> Call:
        return _laid_out(name, layout)(torch.bfloat16 if dtype == torch.float32 else dtype)

    return arguments


def _strided(dtype: torch.dtype) -> Call:
    made = call(dtype, (4, 12, 10, 14), 3)
    return made._replace(input=made.input[::2, :, 1:8, ::2], weight=made.weight.flip(0))


def _of_value(value: float) -> Callable[[torch.dtype], Call]:
    def arguments(dtype: torch.dtype) -> Call:
        made = call(dtype, (2, 4, 3, 5), 2)
        made.input[1, 1, 2, 3] = value
        return made

    return arguments


def _constant(dtype: torch.dtype) -> Call:
    return call(dtype, (1, 4, 3, 5), 2)._replace(input=torch.full((1, 4, 3, 5), 2.5, dtype=dtype))


def _far_from_zero(dtype: torch.dtype) -> Call:
    made = call(torch.float64, (1, 4, 30, 40), 2)
    # Exact in either type; the squares of 64-bit numbers are not.
    offset = 4096 if dtype == torch.float32 else 64
    maps = (made.input * 64).round() / 64 + offset
    return Call(maps.to(dtype), 2, made.weight.to(dtype), made.bias.to(dtype))


CASES = (
    *(
        # PyTorch's own sums, the expected ones, are a few hundred epsilons off in large groups.
        OpCase(f"{name}-{kind}", "group_norm_relu", _laid_out(name, layout), tolerance=512)
        for name in _SHAPES
        for kind, layout in (("last", torch.channels_last), ("first", torch.contiguous_format))
    ),
    *(
        OpCase(f"negatives-stay-{i}", "group_norm_relu", _laid_out("towers", each, relu=False), 64)
        for i, each in enumerate((torch.channels_last, torch.contiguous_format))
    ),
    *(
        OpCase(
            f"empty-{'-'.join(map(str, shape))}",
            "group_norm_relu",
            lambda t, s=shape: call(t, s, 2),
        )
        for shape in ((0, 4, 3, 5), (2, 4, 0, 5), (2, 4, 3, 0), (2, 0, 3, 5))
    ),
    *(
        # Numbers rounded to 8 bits may end up as neighbours.
        OpCase(f"bfloat16-{name}-{kind}", "group_norm_relu", _bfloat16(name, layout), 2**17)
        for name in ("one-pixel", "odd-channels", "257-wide", "two-pieces")
        for kind, layout in (("last", torch.channels_last), ("first", torch.contiguous_format))
    ),
    OpCase("strided", "group_norm_relu", _strided, tolerance=64),
    OpCase("constant", "group_norm_relu", _constant, tolerance=64),
    OpCase("large-eps", "group_norm_relu", lambda t: _constant(t)._replace(eps=10.0), tolerance=64),
    OpCase("not-a-number", "group_norm_relu", _of_value(NAN), tolerance=64),
    OpCase("infinite", "group_norm_relu", _of_value(INF), tolerance=64),
    # Scale and shift are of the type of the values, and cancel to so many digits.
    OpCase("far-from-zero", "group_norm_relu", _far_from_zero, tolerance=64 * 4096),
)


def _changed(**changes: Any) -> Callable[[], Call]:
    return lambda: call(torch.float32, (1, 4, 3, 5), 2)._replace(**changes)


REFUSALS = tuple(
    Refusal(name, "group_norm_relu", _changed(**changes), message)
    for name, changes, message in (
        ("flat", {"input": torch.zeros(4, 3)}, r"input: .*got \(4, 3\)"),
        ("half-precision", {"input": torch.zeros(1, 4, 3, 5).half()}, r"input: expected .*Half"),
        ("short-weight", {"weight": torch.zeros(3)}, r"weight: .*\[ 4 \], got \(3\)"),
        ("double-weight", {"weight": torch.zeros(4).double()}, r"weight: expected Float"),
        ("short-bias", {"bias": torch.zeros(5)}, r"bias: .*\[ 4 \], got \(5\)"),
        (
            "narrow-bias",
            {"input": torch.zeros(1, 4, 3, 5).bfloat16(), "bias": torch.zeros(4).bfloat16()},
            r"bias: expected Float, got BFloat16",
        ),
        ("no-groups", {"num_groups": 0}, r"num_groups: expected a divisor of 4, got 0"),
        ("uneven-groups", {"num_groups": 3}, r"num_groups: expected a divisor of 4, got 3"),
    )
)
