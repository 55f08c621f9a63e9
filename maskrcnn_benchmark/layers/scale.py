"""Learnable factor of the box regression of one feature level."""

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """One learnable number that multiplies its input.

    Args:
        init_value: value at the start.

    Source: FCOS (Tian et al. 2019), section 3.2: exp(s_i x), one s_i per level.
    """

    def __init__(self, init_value: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([init_value]))

    def forward(self, x: Tensor) -> Tensor:
        """The input times the factor; any shape."""
        return x * self.scale
