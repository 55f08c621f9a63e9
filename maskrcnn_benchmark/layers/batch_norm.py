"""Batch normalisation with frozen statistics and affine parameters."""

from typing import Any

import torch
from torch import Tensor, nn


class FrozenBatchNorm2d(nn.Module):
    """Fixed per-channel scale and shift, held in four buffers of shape (C,).

    y = (x - running_mean) / sqrt(running_var) * weight + bias

    Args:
        n: number of channels C.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(n))
        self.register_buffer("bias", torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised features, the shape (N, C, H, W) and type of the input."""
        # UPSTREAM(frozen-bn-no-epsilon): no epsilon in the root, unlike nn.BatchNorm2d.
        scale = self.weight * self.running_var.rsqrt()
        shift = self.bias - self.running_mean * scale
        scale, shift = scale.to(x.dtype)[:, None, None], shift.to(x.dtype)[:, None, None]
        # Rounded twice, as in the original: deep networks amplify a fused product and sum so much
        # that gradients of the first layers would differ by parts of a percent. In place, because
        # a second map of this size costs more than the sum.
        return (x * scale).add_(shift)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Weights of a live nn.BatchNorm2d carry a step counter, which means nothing here.
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Number of channels, for printing the module."""
        return f"{len(self.weight)}"
