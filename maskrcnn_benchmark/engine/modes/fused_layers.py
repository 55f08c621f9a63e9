"""Convolutions that do what follows them, too: normalisation, a sum, an activation.

Shapes: N images, C input and O output channels, H x W cells before, H' x W' after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers import (
    FrozenBatchNorm2d,
    Int16Weight,
    group_norm_relu,
    ops_status,
    pack_winograd_weight,
    pack_winograd_weight_int16,
    winograd_conv3x3,
    winograd_conv3x3_int16,
)

# What the processor's library, oneDNN, computes in.
_PACKED_TYPES = (torch.float32, torch.bfloat16)
# It groups output channels by 16, 32, 48 or 64. Where 48 fits beside 32 or 64, which one it
# takes depends on the size of the maps; for kernels of one cell it may take 48 for any number.
_AMBIGUOUS_CHANNELS = 48
# Bytes of the registers that make minimal filtering fast: AVX2.
_LEAST_REGISTERS = 32
# Types of maps and of products, and from how many input and output channels and tiles of 4 x 4
# cells on it is faster than oneDNN. In 16 bits, where that one is twice as fast, weights have to
# serve more tiles each time they are read.
_WINOGRAD_LIMITS = {
    (torch.float32, torch.float32): (16, 1, 1),
    (torch.float32, torch.int16): (16, 1, 1),
    (torch.bfloat16, torch.float32): (64, 64, 32),
    (torch.bfloat16, torch.int16): (32, 32, 16),
}


class Activation(Enum):
    """What follows a convolution, by its name in oneDNN."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "hardtanh"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedConv:
    """Weights of a convolution with the normalisation behind it worked in, and its sizes.

    Args:
        weight: (O, C / groups, kernel height, kernel width).
        bias: (O,).
        stride, padding, dilation, groups: as in ``nn.Conv2d``.
    """

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, conv: nn.Conv2d, norm: nn.Module | None = None) -> "FoldedConv":
        """The convolution, followed by a batch norm in evaluation mode where there is one."""
        weight = conv.weight.detach()
        bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        if norm is not None:
            # In double precision, so that nothing but the result is rounded.
            scale, shift = scale_and_shift(norm)
            folded_bias = bias.double() * scale + shift
            folded_weight = weight.double() * scale[:, None, None, None]
            weight, bias = folded_weight.to(weight.dtype), folded_bias.to(bias.dtype)
        assert isinstance(conv.padding, tuple)  # ``can_be_fused``
        return cls(
            weight=weight,
            bias=bias,
            stride=_pair(conv.stride),
            padding=_pair(conv.padding),
            dilation=_pair(conv.dilation),
            groups=conv.groups,
        )


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def can_be_fused(module: nn.Module) -> bool:
    """Whether it is a convolution that pads with zeros and has no forward of its own."""
    return (
        isinstance(module, nn.Conv2d)
        and type(module).forward is nn.Conv2d.forward
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
    )


def can_be_folded(module: nn.Module) -> bool:
    """Whether it is a batch norm with fixed statistics."""
    if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
        return module.track_running_stats and not module.training
    return isinstance(module, FrozenBatchNorm2d)


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """(O,) float64 each: a norm that ``can_be_folded`` computes x * scale + shift."""
    assert isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d | nn.SyncBatchNorm)
    epsilon = 0.0 if isinstance(norm, FrozenBatchNorm2d) else norm.eps
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + epsilon).rsqrt()
    if norm.weight is not None:
        scale = norm.weight.detach().double() * scale
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return scale, shift


class FusedConv2d(nn.Module):
    """activation(conv(x) + bias), or activation(conv(x) + bias + addend), for evaluation.

    Results lie in memory as NHWC. On a CPU with oneDNN one pass computes all of it, with weights
    in the order that the processor likes best.

    Args:
        conv: weights and sizes.
        activation: what follows.
        dtype: what it computes in and returns, whatever comes in.
        typical_input: (N, C, H, W) that its weights are arranged for. Maps of other sizes give the
            same; far from it oneDNN may arrange the weights again in each call, slowly.
        overwrites: the result takes the place of the addend, which nobody needs any longer.
    """

    def __init__(
        self,
        conv: FoldedConv,
        *,
        activation: Activation,
        dtype: torch.dtype,
        typical_input: Sequence[int] | None = None,
        overwrites: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.padding = conv.stride, conv.padding
        self.dilation, self.groups = conv.dilation, conv.groups
        self.activation = activation
        self.dtype = dtype
        self.overwrites = overwrites
        self.is_packed = (
            torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and dtype in _PACKED_TYPES
            and conv.weight.device.type == "cpu"
        )
        self.bias = conv.bias.to(dtype)
        # The only ones that are kept: plain ones beside them would double the copy's memory.
        self.weight = self._arranged(conv.weight.to(dtype), typical_input)

    def _arranged(self, weight: Tensor, typical_input: Sequence[int] | None) -> Tensor:
        if not self.is_packed:
            return weight.contiguous(memory_format=torch.channels_last)
        if weight.shape[-2:] == (1, 1) or len(weight) % _AMBIGUOUS_CHANNELS == 0:
            # oneDNN makes the best order from the plain one in each call, in a hundredth of the
            # convolution's time, but from the best one of another size in ten times as long. It
            # returns maps as NHWC because the strides say so, which ``contiguous`` leaves as
            # they are where height and width are 1.
            return torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight)
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            *(weight.contiguous(), self.padding, self.stride, self.dilation, self.groups),
            typical_input,
        )
        return packed

    def unpack(self) -> None:
        """Keep the weights in plain order: compilers cannot read those of the processor."""
        weight = self.weight.to_dense() if self.weight.is_mkldnn else self.weight
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.is_packed = False

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """(N, O, H', W') of maps (N, C, H, W) and, where there is one, an addend of its shape."""
        x = x.to(self.dtype)
        if not self.is_packed:
            return self._in_steps(x, addend)
        if addend is None:
            return self._packed(x)
        return self._packed_sum(x, addend.to(self.dtype))

    def _in_steps(self, x: Tensor, addend: Tensor | None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        sizes = (self.stride, self.padding, self.dilation, self.groups)
        y = F.conv2d(x, self.weight, self.bias, *sizes)
        if addend is not None:
            y += addend
        if self.activation is Activation.NONE:
            return y
        return F.relu_(y) if self.activation is Activation.RELU else F.relu6(y, inplace=True)

    def _packed(self, x: Tensor) -> Tensor:
        limits = [0.0, 6.0] if self.activation is Activation.RELU6 else []
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, *self._packed_options(), self.activation.value, limits, ""
        )
        return y

    def _packed_sum(self, x: Tensor, addend: Tensor) -> Tensor:
        operators, options = torch.ops.mkldnn, self._packed_options()
        activation = None if self.activation is Activation.NONE else self.activation.value
        if self.overwrites:
            operators._convolution_pointwise_(addend, x, *options, "add", 1.0, activation, [], None)
            return addend
        y: Tensor = operators._convolution_pointwise(
            x, addend, *options, "add", 1.0, activation, [], None
        )
        return y

    def _packed_options(self) -> tuple[Any, ...]:
        """What oneDNN's operators take behind the maps."""
        return self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups

    def extra_repr(self) -> str:
        """What it computes, for printing the module."""
        return f"{self.activation.name}, {self.dtype}, overwrites={self.overwrites}"


class WinogradConv2d(nn.Module):
    """activation(conv(x) + bias) of a 3 x 3 convolution, with a quarter of its multiplications.

    For evaluation on a CPU. Sums are of 32 bits whatever the type of the maps, which lie in memory
    as NHWC.

    Args:
        conv: weights and sizes, for which ``suits`` is true.
        activation: what follows.
        dtype: of the maps that come in, which are converted, and of those that are returned.
        products: what is multiplied, float32 or int16.
    """

    def __init__(
        self,
        conv: FoldedConv,
        *,
        activation: Activation,
        dtype: torch.dtype,
        products: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        in_integers = products is torch.int16
        pack = pack_winograd_weight_int16 if in_integers else pack_winograd_weight
        self.weight = pack(conv.weight)
        self.bias = conv.bias.float()
        self.padding, _ = conv.padding
        self.activation = activation
        self.dtype = dtype

    @staticmethod
    def has_kernel(device: torch.device, products: torch.dtype = torch.float32) -> bool:
        """Whether it computes fast on a device.

        With float32 it does on processors with AVX2 or AVX512, with int16 on those that have
        instructions for it (AVX512 VNNI).
        """
        if device.type != "cpu":
            return False
        if products is torch.int16:
            return "cpu" in ops_status().kernels.get("winograd_conv3x3_int16", ())
        return ops_status().register_bytes >= _LEAST_REGISTERS

    @staticmethod
    def suits(
        conv: FoldedConv,
        *,
        activation: Activation,
        dtype: torch.dtype,
        products: torch.dtype = torch.float32,
        typical_input: Sequence[int],
    ) -> bool:
        """Whether it can compute a convolution, and is faster then, for maps like (N, C, H, W)."""
        height, width = conv.padding
        can_be = (
            conv.weight.shape[-2:] == (3, 3)
            and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
            and height == width
            and activation in (Activation.NONE, Activation.RELU)
            and WinogradConv2d.has_kernel(conv.weight.device, products)
        )
        if not can_be or (dtype, products) not in _WINOGRAD_LIMITS:
            return False
        least_inputs, least_outputs, least_tiles = _WINOGRAD_LIMITS[dtype, products]
        num_images, _, rows, columns = typical_input
        num_tiles = num_images * -(-rows // 4) * -(-columns // 4)
        num_outputs, num_inputs = conv.weight.shape[:2]
        enough = num_inputs >= least_inputs and num_outputs >= least_outputs
        return enough and num_tiles >= least_tiles

    def forward(self, x: Tensor) -> Tensor:
        """(N, O, H', W') of maps (N, C, H, W)."""
        options = (self.bias, self.padding, self.activation is Activation.RELU)
        x = x.to(self.dtype)
        if isinstance(self.weight, Int16Weight):
            return winograd_conv3x3_int16(x, self.weight, *options)
        return winograd_conv3x3(x, self.weight, *options)

    def extra_repr(self) -> str:
        """What it computes, for printing the module."""
        products = "int16" if isinstance(self.weight, Int16Weight) else "float32"
        return f"{self.activation.name}, {self.dtype}, products of {products}"


class FusedGroupNorm(nn.Module):
    """Group normalisation and ReLU, for evaluation, in the type and layout of the maps.

    Args:
        norm: with weights.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), none below 0, of maps (N, C, H, W)."""
        norm = self.norm
        return group_norm_relu(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


class FusedConvTranspose2d(nn.Module):
    """A transposed convolution that computes in a type of its own.

    Args:
        conv: the convolution.
        dtype: what it computes in and returns, whatever comes in.
    """

    def __init__(self, conv: nn.ConvTranspose2d, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = conv.to(dtype).to(memory_format=torch.channels_last)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """(N, O, H', W') of maps (N, C, H, W)."""
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        y: Tensor = self.conv(x)
        return y


class TypedModule(nn.Module):
    """A module that computes in a type of its own.

    Args:
        module: takes floating tensors.
        dtype: of its parameters and of what it gets, whatever comes in.
    """

    def __init__(self, module: nn.Module, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module.to(dtype)
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the module returns."""
        y: Tensor = self.module(*(x.to(self.dtype) for x in inputs))
        return y
