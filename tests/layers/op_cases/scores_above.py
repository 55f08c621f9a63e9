"""Cases of ``scores_above``: the CPU kernel works in pieces of 32768 values, or of 512 cells."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded

NAN, INF = float("nan"), float("inf")
LAYOUTS = {"last": torch.channels_last, "first": torch.contiguous_format}
Call = tuple[Tensor, int, float]


def call(
    dtype: torch.dtype, shape: tuple[int, int, int, int], width: int, threshold: float = 0.05
) -> Call:
    """Logits around -3, of which a tenth or so is above the usual threshold."""
    logits = torch.randn(shape, generator=seeded(shape[3]), dtype=torch.float64) * 2 - 5
    return logits.to(dtype), width, threshold


_SHAPES = {
    "one-value": ((1, 1, 1, 1), 1),
    "one-cell": ((2, 12, 1, 1), 4),
    "one-class": ((2, 3, 5, 7), 1),
    "points-and-classes": ((3, 15, 9, 11), 3),
    "two-pieces": ((1, 80, 17, 31), 80),
    "many-pieces": ((2, 24, 40, 53), 8),
    # Around 512 cells.
    **{f"{width}-cells": ((1, 3, 1, width), 3) for width in (511, 512, 513)},
}


def _laid_out(call_: Call, layout: torch.memory_format) -> Call:
    logits, *rest = call_
    return logits.contiguous(memory_format=layout), *rest


def _bfloat16(dtype: torch.dtype, layout: torch.memory_format) -> Call:
    """Of 16 bits where the others are of 32."""
    return _laid_out(
        call(torch.bfloat16 if dtype == torch.float32 else dtype, (2, 6, 9, 70), 3), layout
    )


def _extreme(dtype: torch.dtype, threshold: float, layout: torch.memory_format) -> Call:
    values = [0.0, -0.0, 1e-30, 3, -3, 50, -50, 89, -89, 110, -110, 1e4, -1e4, INF, -INF, NAN]
    return _laid_out((torch.tensor(values, dtype=dtype).view(1, 2, 2, 4), 2, threshold), layout)


def _strided(dtype: torch.dtype) -> Call:
    logits, *rest = call(dtype, (4, 12, 10, 14), 3)
    return logits[::2, :, 1:8, ::2], *rest


THRESHOLDS = (0.05, 0.5, 0.0, -1.0, 1.0, 2.0, 1e-40, 1 - 1e-7, INF, -INF, NAN)

CASES = (
    *(
        OpCase(
            f"{name}-{kind}",
            "scores_above",
            lambda t, s=shape, w=layout: _laid_out(call(t, *s), w),
            4,
        )
        for (name, shape), (kind, layout) in itertools.product(_SHAPES.items(), LAYOUTS.items())
    ),
    *(
        OpCase(
            f"empty-{'-'.join(map(str, shape))}", "scores_above", lambda t, s=shape: call(t, s, 2)
        )
        for shape in ((0, 4, 3, 5), (2, 4, 0, 5), (2, 4, 3, 0), (2, 0, 3, 5))
    ),
    *(
        OpCase(
            f"all-{kind}",
            "scores_above",
            lambda t, w=layout: _laid_out(call(t, (1, 9, 40, 55), 3, 0.0), w),
            4,
        )
        for kind, layout in LAYOUTS.items()
    ),
    *(
        OpCase(f"bfloat16-{kind}", "scores_above", lambda t, w=layout: _bfloat16(t, w), 4)
        for kind, layout in LAYOUTS.items()
    ),
    *(
        OpCase(
            f"threshold-{value}-{kind}",
            "scores_above",
            lambda t, v=value, w=layout: _extreme(t, v, w),
            4,
        )
        for value, (kind, layout) in itertools.product(THRESHOLDS, LAYOUTS.items())
    ),
    OpCase("strided", "scores_above", _strided, 4),
)


def _changed(logits: Any = None, width: int = 2) -> Callable[[], Call]:
    return lambda: (torch.zeros(1, 4, 3, 5) if logits is None else logits, width, 0.5)


REFUSALS = (
    Refusal("flat", "scores_above", _changed(torch.zeros(4, 3)), r"logits: .*got \(4, 3\)"),
    Refusal(
        "half-precision",
        "scores_above",
        _changed(torch.zeros(1, 4, 1, 1).half()),
        r"logits: .*Half",
    ),
    Refusal(
        "no-width", "scores_above", _changed(width=0), r"width: expected a divisor of 4, got 0"
    ),
    Refusal("uneven", "scores_above", _changed(width=3), r"width: expected a divisor of 4, got 3"),
)
