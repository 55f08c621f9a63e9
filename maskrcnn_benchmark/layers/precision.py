"""Leaving half precision where its few values or its short range would show."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, else as it is.

    Args:
        x: floating point, any shape.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
