"""Cases of ``sigmoid_focal_loss`` and its backward: CUDA kernels run 256 threads a block."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded

NAN, INF = float("nan"), float("inf")


def random_targets(rows: int, classes: int) -> Tensor:
    """Targets -1 (ignored), 0 (background), 1..classes."""
    return torch.randint(-1, classes + 1, (rows,), generator=seeded(rows))


def _ordinary(
    rows: int, classes: int, gamma: float = 2.0, alpha: float = 0.25, spread: float = 3.0
) -> Callable[[torch.dtype], tuple[Any, ...]]:
    def arguments(dtype: torch.dtype) -> tuple[Any, ...]:
        numbers = torch.randn(rows, classes, generator=seeded(rows), dtype=torch.float64)
        return (numbers * spread).to(dtype), random_targets(rows, classes), gamma, alpha

    return arguments


def _extreme(dtype: torch.dtype) -> tuple[Any, ...]:
    column = torch.tensor([0.0, -0.0, 1e-30, 50, -50, 89, -89, 1e4, -1e4, 1e30, -1e30, INF, -INF])
    logits = torch.cat((column, torch.tensor([NAN])))[:, None].repeat(1, 3).to(dtype)
    return logits, torch.arange(14) % 5 - 1, 2.0, 0.25


def _extreme_ignored(dtype: torch.dtype) -> tuple[Any, ...]:
    logits, targets, *settings = _extreme(dtype)
    return logits, targets * 0 - 1, *settings


def _strided(dtype: torch.dtype) -> tuple[Any, ...]:
    logits, _, gamma, alpha = _ordinary(7, 11)(dtype)
    return logits.t(), torch.arange(22).view(11, 2)[:, 0] % 9 - 1, gamma, alpha


_FORWARD: dict[str, Callable[[torch.dtype], tuple[Any, ...]]] = {
    "no-rows": _ordinary(0, 3),
    "no-classes": _ordinary(3, 0),
    "one-logit": _ordinary(1, 1),
    # A thread a logit: around one block, and around all blocks of one pass.
    **{
        f"{rows}x{classes}": _ordinary(rows, classes)
        for rows, classes in ((85, 3), (64, 4), (257, 1), (1, 257), (767, 1), (96, 8), (769, 1))
    },
    "many": _ordinary(101, 17),
    **{f"gamma-{gamma}": _ordinary(20, 5, gamma=gamma) for gamma in (0.0, 0.5, 1.0, 5.0)},
    **{f"alpha-{alpha}": _ordinary(20, 5, alpha=alpha) for alpha in (0.01, 0.5, 0.99)},
    "wide": _ordinary(20, 5, spread=40.0),
    "extreme": _extreme,
    "extreme-ignored": _extreme_ignored,
    "strided": _strided,
}


def _backward_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    logits = arguments[0]
    grad = torch.randn(logits.shape, generator=seeded(7), dtype=torch.float64)
    return grad.to(logits.dtype), *arguments


def _seen_from_everywhere(dtype: torch.dtype, *, rows: bool) -> tuple[Any, ...]:
    arguments = _ordinary(20, 5)(dtype)
    grad = torch.arange(1.0, 6).to(dtype).expand(20, 5) if rows else arguments[0].new_tensor(0.5)
    return grad.expand(20, 5), *arguments


CASES = (
    *(OpCase(name, "sigmoid_focal_loss", call, tolerance=32) for name, call in _FORWARD.items()),
    *(
        OpCase(name, "sigmoid_focal_loss_sum", call, tolerance=256)
        for name, call in _FORWARD.items()
    ),
    *(
        OpCase(
            name,
            "sigmoid_focal_loss_backward",
            lambda t, c=call: _backward_of(c(t)),
            tolerance=32,
        )
        for name, call in _FORWARD.items()
    ),
    OpCase(
        "grad-of-a-sum",
        "sigmoid_focal_loss_backward",
        lambda t: _seen_from_everywhere(t, rows=False),
        tolerance=32,
    ),
    OpCase(
        "grad-of-a-sum-of-rows",
        "sigmoid_focal_loss_backward",
        lambda t: _seen_from_everywhere(t, rows=True),
        tolerance=32,
    ),
)


def _beyond_the_classes(dtype: torch.dtype) -> tuple[Any, ...]:
    return torch.zeros(4, 3, dtype=dtype), torch.tensor([-2, 4, 2**40, -1]), 2.0, 0.25


def _nan_but_the_last(dtype: torch.dtype) -> Tensor:
    return torch.tensor([NAN, NAN, NAN, 0.0], dtype=dtype)[:, None].expand(4, 3)


# A kernel cannot raise an error without waiting for the device: what it computes is no number.
CUDA_CASES = (
    OpCase(
        "beyond-the-classes", "sigmoid_focal_loss", _beyond_the_classes, expected=_nan_but_the_last
    ),
    OpCase(
        "beyond-the-classes",
        "sigmoid_focal_loss_sum",
        _beyond_the_classes,
        expected=lambda t: (torch.tensor(NAN, dtype=t), _nan_but_the_last(t)),
    ),
    OpCase(
        "beyond-the-classes",
        "sigmoid_focal_loss_backward",
        lambda t: _backward_of(_beyond_the_classes(t)),
        expected=_nan_but_the_last,
    ),
)

_TARGETS = torch.zeros(2).long()

REFUSALS = (
    Refusal(
        "flat-logits",
        "sigmoid_focal_loss",
        lambda: (torch.zeros(2), _TARGETS, 2.0, 0.25),
        r"logits: .*got \(2\)",
    ),
    Refusal(
        "too-many-targets",
        "sigmoid_focal_loss",
        lambda: (torch.zeros(2, 3), torch.zeros(3).long(), 2.0, 0.25),
        r"targets: .*\[ 2 \], got \(3\)",
    ),
    Refusal(
        "short-targets",
        "sigmoid_focal_loss",
        lambda: (torch.zeros(2, 3), _TARGETS.int(), 2.0, 0.25),
        r"targets: expected Long, got Int",
    ),
    Refusal(
        "too-many-targets",
        "sigmoid_focal_loss_sum",
        lambda: (torch.zeros(2, 3), torch.zeros(3).long(), 2.0, 0.25),
        r"targets: .*\[ 2 \], got \(3\)",
    ),
    Refusal(
        "half-precision",
        "sigmoid_focal_loss",
        lambda: (torch.zeros(2, 3).half(), _TARGETS, 2.0, 0.25),
        r"logits: expected float32 or float64, got Half",
    ),
    Refusal(
        "grad-of-other-shape",
        "sigmoid_focal_loss_backward",
        lambda: (torch.zeros(2, 2), torch.zeros(2, 3), _TARGETS, 2.0, 0.25),
        r"grad: .*\[ 2 3 \], got \(2, 2\)",
    ),
    Refusal(
        "grad-of-other-type",
        "sigmoid_focal_loss_backward",
        lambda: (torch.zeros(2, 3).double(), torch.zeros(2, 3), _TARGETS, 2.0, 0.25),
        r"grad: expected Float, got Double",
    ),
)
