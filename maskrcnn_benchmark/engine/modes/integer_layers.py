"""Layers that multiply integers of 16 bits, for evaluation on processors with instructions for it.

Shapes: N images, C input and O output channels, H x W cells before, H' x W' after.
"""

import math

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.engine.modes.fused_layers import Activation, FoldedConv
from maskrcnn_benchmark.layers import (
    ops_status,
    pack_pointwise_weight_int16,
    pointwise_conv_int16,
)

# From so many input and output channels on it is faster than oneDNN.
_LEAST_CHANNELS = (64, 32)
_LIMITS = {
    Activation.NONE: (-math.inf, math.inf),
    Activation.RELU: (0.0, math.inf),
    Activation.RELU6: (0.0, 6.0),
}


class PointwiseConv2d(nn.Module):
    """activation(conv(x) + bias), or activation(conv(x) + bias + addend), of a kernel of one cell.

    Results are float32 and lie in memory as NHWC.

    Args:
        conv: weights and sizes, for which ``suits`` is true.
        activation: what follows.
    """

    def __init__(self, conv: FoldedConv, *, activation: Activation) -> None:
        super().__init__()
        self.weight = pack_pointwise_weight_int16(conv.weight)
        self.bias = conv.bias.float()
        self.stride, _ = conv.stride
        self.activation = activation

    @staticmethod
    def suits(conv: FoldedConv) -> bool:
        """Whether it can compute a convolution, and is faster then than in float32."""
        num_outputs, num_inputs, height, width = conv.weight.shape
        least_inputs, least_outputs = _LEAST_CHANNELS
        vertical, horizontal = conv.stride
        return (
            (height, width, conv.groups, conv.padding) == (1, 1, 1, (0, 0))
            and vertical == horizontal
            and num_inputs >= least_inputs
            and num_outputs >= least_outputs
            and _has_kernel(conv.weight.device)
        )

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """(N, O, H', W') of maps (N, C, H, W) and, where there is one, an addend of its shape."""
        limits = _LIMITS[self.activation]
        return pointwise_conv_int16(x.float(), self.weight, self.bias, addend, self.stride, *limits)

    def extra_repr(self) -> str:
        """What it computes, for printing the module."""
        return f"{self.activation.name}, stride={self.stride}, products of int16"


class IntegerLinear(nn.Module):
    """A linear layer, whose results are float32.

    Args:
        linear: its weights.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.weight = pack_pointwise_weight_int16(weight[..., None, None])
        none = weight.new_zeros(len(weight))
        self.bias = none if linear.bias is None else linear.bias.detach().float()

    @staticmethod
    def suits(linear: nn.Linear) -> bool:
        """Whether it can compute a linear layer, and is faster then than in float32."""
        least_inputs, least_outputs = _LEAST_CHANNELS
        enough = linear.in_features >= least_inputs and linear.out_features >= least_outputs
        return enough and _has_kernel(linear.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """(..., O) of (..., C)."""
        cells = x.float().reshape(-1, x.shape[-1], 1, 1)
        y = pointwise_conv_int16(cells, self.weight, self.bias)
        return y.reshape(*x.shape[:-1], y.shape[1])


def _has_kernel(device: torch.device) -> bool:
    return device.type == "cpu" and "cpu" in ops_status().kernels.get("pointwise_conv_int16", ())
