"""Inverted residual blocks as one layer.

Shapes: N images, C input and K output channels, E channels between, H x W cells before, H' x W'
after.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.engine.modes.fused_layers import Activation, FoldedConv
from maskrcnn_benchmark.engine.modes.integer_layers import PointwiseConv2d
from maskrcnn_benchmark.layers import (
    IntegerBlockWeights,
    inverted_residual,
    inverted_residual_int16,
    ops_status,
    pack_inverted_residual,
    pack_inverted_residual_int16,
)

# Bytes of the registers that make it fast: AVX512.
_LEAST_REGISTERS = 64
_LIMITS = {Activation.RELU: math.inf, Activation.RELU6: 6.0}
# From so many numbers between on, by the type of the maps, it is faster than one after the other.
# oneDNN computes twice as fast in 16 bits, but waits for memory where the cache is too small.
_LEAST_BETWEEN = {torch.float32: 0, torch.bfloat16: 1 << 21}
# And from so many input channels on with products of integers: large maps of 32 bits, which have
# fewer, stay more precise than those would be.
_LEAST_CHANNELS = {torch.float32: 64, torch.bfloat16: 0}
_UNIT = (1, 1)
_STRIDES = (_UNIT, (2, 2))


class BlockLayer(nn.Module):
    """What layers for blocks have in common: sizes, and the type of their maps.

    Args:
        convs: of single cells to E channels, where there is one, of 3 x 3 cells of each channel,
            and of single cells to K channels.
        activation: what follows all but the last.
        adds_input: whether the input is added.
        dtype: of the maps that come in, which are converted, and of those that are returned.
    """

    def __init__(
        self,
        convs: Sequence[FoldedConv],
        *,
        activation: Activation,
        adds_input: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        *_, depthwise, projection = convs
        self.out_channels = len(projection.weight)
        self.stride, _ = depthwise.stride
        self.activation = activation
        self.adds_input = adds_input
        self.dtype = dtype

    def extra_repr(self) -> str:
        """What it computes, for printing the module."""
        sizes = f"stride={self.stride}, adds_input={self.adds_input}"
        return f"{self.activation.name}, {self.dtype}, {sizes}"


class InvertedResidual(BlockLayer):
    """project(filter(expand(x))), or that + x, of one pass over memory.

    For evaluation on a CPU. Sums are of 32 bits whatever the type of the maps, which lie in memory
    as NHWC.

    Args:
        convs: of single cells to E channels, where there is one, of 3 x 3 cells of each channel,
            and of single cells to K channels, for which ``suits`` is true.
        activation: what follows all but the last.
        adds_input: whether the input is added.
        dtype: of the maps that come in, which are converted, and of those that are returned.
    """

    def __init__(
        self,
        convs: Sequence[FoldedConv],
        *,
        activation: Activation,
        adds_input: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(convs, activation=activation, adds_input=adds_input, dtype=dtype)
        *expansion, depthwise, projection = ((conv.weight, conv.bias) for conv in convs)
        weights = pack_inverted_residual(expansion[0] if expansion else None, depthwise, projection)
        self.expansion, self.depthwise, self.projection = weights

    @staticmethod
    def has_kernel(device: torch.device) -> bool:
        """Whether it computes fast on a device: on processors with AVX512.

        With AVX2 oneDNN is faster.
        """
        return device.type == "cpu" and ops_status().register_bytes == _LEAST_REGISTERS

    @staticmethod
    def suits(
        convs: Sequence[nn.Conv2d],
        *,
        activation: Activation,
        adds_input: bool,
        dtype: torch.dtype,
        typical_input: Sequence[int],
    ) -> bool:
        """Whether it can compute these, and is faster than one after the other.

        Args:
            convs: two or three.
            activation: what follows all but the last.
            adds_input: whether the input is added.
            dtype: of the maps.
            typical_input: (N, C, H, W) of the maps.
        """
        *expansion, _, projection = convs
        num_images, _, height, width = typical_input
        num_between = num_images * projection.in_channels * height * width
        return (
            num_between >= _LEAST_BETWEEN.get(dtype, math.inf)
            and len(expansion) <= 1
            and activation in _LIMITS
            and _is_block(convs, adds_input=adds_input)
            and InvertedResidual.has_kernel(projection.weight.device)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, K, H', W') of maps (N, C, H, W)."""
        return inverted_residual(
            *(x.to(self.dtype), self.expansion, self.depthwise, self.projection),
            *(self.out_channels, self.stride, self.adds_input, _LIMITS[self.activation]),
        )


class IntegerInvertedResidual(BlockLayer):
    """What ``InvertedResidual`` computes, by products of 16-bit integers.

    For evaluation on a CPU. Maps lie in memory as NHWC.

    Args:
        convs: of single cells to E channels, of 3 x 3 cells of each channel, and of single cells
            to K channels, for which ``suits`` is true.
        activation: what follows all but the last.
        adds_input: whether the input is added.
        dtype: of the maps, float32 or bfloat16.
    """

    def __init__(
        self,
        convs: Sequence[FoldedConv],
        *,
        activation: Activation,
        adds_input: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(convs, activation=activation, adds_input=adds_input, dtype=dtype)
        expansion, depthwise, projection = ((conv.weight, conv.bias) for conv in convs)
        weights = pack_inverted_residual_int16(
            expansion, depthwise, projection, _LIMITS[activation]
        )
        self.expansion, self.depthwise, self.projection, self.factors = weights

    @staticmethod
    def suits(
        convs: Sequence[nn.Conv2d],
        *,
        activation: Activation,
        adds_input: bool,
        dtype: torch.dtype,
        products: torch.dtype,
    ) -> bool:
        """Whether it can compute these, and is faster than one after the other."""
        return (
            products is torch.int16
            and convs[0].in_channels >= _LEAST_CHANNELS.get(dtype, math.inf)
            and len(convs) == 3
            and _LIMITS.get(activation, math.inf) < math.inf
            and _is_block(convs, adds_input=adds_input)
            and convs[0].weight.device.type == "cpu"
            and "cpu" in ops_status().kernels.get("inverted_residual_int16", ())
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, K, H', W') of maps (N, C, H, W)."""
        weights = (self.expansion, self.depthwise, self.projection, self.factors)
        packed = IntegerBlockWeights(*weights)
        sizes = (self.out_channels, self.stride, self.adds_input)
        return inverted_residual_int16(x.to(self.dtype), packed, *sizes)

    def extra_repr(self) -> str:
        """What it computes, for printing the module."""
        return f"{super().extra_repr()}, products of int16"


def inverted_residual_layer(
    convs: Sequence[nn.Conv2d],
    folded: Sequence[FoldedConv],
    *,
    activation: Activation,
    adds_input: bool,
    dtype: torch.dtype,
    products: torch.dtype,
    typical_input: Sequence[int],
) -> BlockLayer | None:
    """The layer that computes a block; None where there is none, or single ones are faster.

    Args:
        convs: two or three.
        folded: their weights.
        activation: what follows all but the last.
        adds_input: whether the input is added.
        dtype: of the maps.
        products: what is multiplied where there is a kernel for it, float32 or int16.
        typical_input: (N, C, H, W) of the maps.
    """
    options: dict[str, Any] = {"activation": activation, "adds_input": adds_input, "dtype": dtype}
    if IntegerInvertedResidual.suits(convs, **options, products=products):
        return IntegerInvertedResidual(folded, **options)
    of_cells = [conv for conv in folded if conv.groups == 1]
    # Half the time for the products is worth more than maps that stay in the cache.
    if (dtype, products) == (torch.float32, torch.int16) and all(
        map(PointwiseConv2d.suits, of_cells)
    ):
        return None
    if InvertedResidual.suits(convs, **options, typical_input=typical_input):
        return InvertedResidual(folded, **options)
    return None


def _is_block(convs: Sequence[nn.Conv2d], *, adds_input: bool) -> bool:
    *expansion, depthwise, projection = convs
    first, *_ = convs
    return (
        all(_is_of_cells(conv) for conv in (*expansion, projection))
        and _is_depthwise(depthwise)
        and (
            not adds_input
            or (depthwise.stride == _UNIT and first.in_channels == projection.out_channels)
        )
    )


def _is_of_cells(conv: nn.Conv2d) -> bool:
    sizes = (conv.kernel_size, conv.stride, conv.padding, conv.groups)
    return sizes == (_UNIT, _UNIT, (0, 0), 1)


def _is_depthwise(conv: nn.Conv2d) -> bool:
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and (conv.kernel_size, conv.padding, conv.dilation) == ((3, 3), _UNIT, _UNIT)
        and conv.stride in _STRIDES
    )
