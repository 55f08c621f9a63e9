"""PyTorch's wish for deterministic algorithms, for operators registered from Python."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def alert_not_deterministic(what: str) -> None:
    """Do what ``torch.use_deterministic_algorithms`` asks for: nothing, warn or raise.

    Raises:
        RuntimeError: deterministic algorithms are demanded.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return
    text = (
        f"{what} adds in an order that changes from run to run, but "
        "torch.use_deterministic_algorithms(True) was called; allow it with "
        "torch.use_deterministic_algorithms(True, warn_only=True)"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(text)
    warnings.warn(text, stacklevel=2)


def with_alert_on_cuda(name: str, backward: Callable[..., Any]) -> Callable[..., Any]:
    """``backward`` of the operator ``name``, whose CUDA kernel adds with atomics."""

    @wraps(backward)
    def alerting(ctx: Any, *grads: Tensor | None) -> Any:  # noqa: ANN401 - as ``backward``
        if any(grad is not None and grad.is_cuda for grad in grads):
            alert_not_deterministic(f"the backward pass of {name} on CUDA")
        return backward(ctx, *grads)

    return alerting
