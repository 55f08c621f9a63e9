"""Batch normalisation whose statistics and affine parameters are not trained."""

from typing import Any

import torch
from torch import Tensor, nn


class FrozenBatchNorm2d(nn.Module):
    """Fixed per-channel scale and shift, held in four buffers of shape (C,).

    y = (x - running_mean) / sqrt(running_var) * weight + bias

    Args:
        n: number of channels C.

    Attributes:
        may_fold: see ``conv_norm``.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.may_fold = False
        self.register_buffer("weight", torch.ones(n))
        self.register_buffer("bias", torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """(C,) each: the norm computes x * scale + shift."""
        # UPSTREAM(frozen-bn-no-epsilon): no epsilon in the root, unlike nn.BatchNorm2d.
        scale = self.weight * self.running_var.rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalised features, the shape (N, C, H, W) and type of the input."""
        scale, shift = (values.to(x.dtype)[:, None, None] for values in self.scale_and_shift())
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


class StillBatchNorm2d(nn.BatchNorm2d):
    """PyTorch's batch norm, but in evaluation mode all the time, and without gradients of its own.

    What small batches make of norms that have learnt elsewhere; arguments and names are theirs.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps, momentum)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "StillBatchNorm2d":  # noqa: ARG002 - of every module
        """Itself, unchanged."""
        return super().train(False)


def conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(conv(x))``, in training by one convolution where the norm is frozen and ``may_fold``.

    The norm is then worked into the weights, which rounds otherwise: two maps less are written.
    """
    if (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and isinstance(norm, FrozenBatchNorm2d)
        and norm.may_fold
        and norm.training
    ):
        return _folded(conv, norm, x)
    normalised: Tensor = norm(conv(x))
    return normalised


def _folded(conv: nn.Conv2d, norm: FrozenBatchNorm2d, x: Tensor) -> Tensor:
    scale, shift = norm.scale_and_shift()
    weight = conv.weight * scale[:, None, None, None]
    bias = shift if conv.bias is None else shift + conv.bias * scale
    folded: Tensor = conv._conv_forward(x, weight, bias)
    return folded


class NormSequential(nn.Sequential):
    """Layers in a row, in which every convolution with a norm behind it is a ``conv_norm``."""

    def forward(self, x: Tensor) -> Tensor:
        """What the last layer returns."""
        layers = list(self)
        while layers:
            layer = layers.pop(0)
            if layers and isinstance(layers[0], FrozenBatchNorm2d):
                x = conv_norm(layer, layers.pop(0), x)
            else:
                x = layer(x)
        return x
