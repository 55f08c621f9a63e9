"""Leaving half precision where its few values or its short range would show."""

import torch
from torch import Tensor, nn


def at_least_float32(x: Tensor) -> Tensor:
    """The floating tensor, of any shape, in float32 if it is in half precision, else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def leave_half_precision(
    _module: nn.Module, _inputs: object, outputs: Tensor | tuple[Tensor, ...]
) -> Tensor | tuple[Tensor, ...]:
    """The tensor or tensors that a module returns in float32 at least; a forward hook."""
    if isinstance(outputs, Tensor):
        return at_least_float32(outputs)
    return tuple(map(at_least_float32, outputs))
