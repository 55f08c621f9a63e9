"""Deformable convolution as modules, versions 1 (offsets) and 2 (offsets and modulation).

Shape symbols: N images, C input channels, O output channels, H x W input map, P x Q output map,
G groups, D deformable groups.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.arguments import as_pair
from maskrcnn_benchmark.layers.deform_conv import IntOrPair, deform_conv, modulated_deform_conv

if TYPE_CHECKING:
    from typing_extensions import Self


def _split(predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (the first two thirds of the maps) and modulation in [0, 1] (the last third)."""
    maps = predicted.shape[1] // 3
    return predicted[:, : 2 * maps], predicted[:, 2 * maps :].sigmoid()


class _DeformableLayer(nn.Module):
    """Weights and geometry that the modules share."""

    bias: Tensor | None
    can_have_bias: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        if bias and not self.can_have_bias:
            raise ValueError("bias: expected False (version 1 has none), got True")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size: tuple[int, int] = as_pair(kernel_size, "kernel_size")
        self.stride: tuple[int, int] = as_pair(stride, "stride")
        self.padding: tuple[int, int] = as_pair(padding, "padding")
        self.dilation: tuple[int, int] = as_pair(dilation, "dilation")
        self.groups = groups
        self.deformable_groups = deformable_groups
        if groups < 1 or in_channels % groups or out_channels % groups:
            wanted = f"a divisor of {in_channels} input and {out_channels} output channels"
            raise ValueError(f"groups: expected {wanted}, got {groups}")
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        has_bias = self.can_have_bias if bias is None else bias
        self.bias = nn.Parameter(torch.empty(out_channels)) if has_bias else None
        self.reset_parameters()
        self._add_predictions()

    def _add_predictions(self) -> None:
        """Where offsets come from outside, nothing."""

    def _geometry(self) -> tuple[IntOrPair, IntOrPair, IntOrPair, int, int]:
        return self.stride, self.padding, self.dilation, self.groups, self.deformable_groups

    def reset_parameters(self) -> None:
        """Draw the weights anew, uniformly within 1 / sqrt(fan in); the bias becomes 0."""
        bound = 1.0 / math.sqrt(self.in_channels * self.kernel_size[0] * self.kernel_size[1])
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def rescaled(self, scale: Tensor, shift: Tensor) -> Self:
        """A copy whose output is this one's * scale + shift, without a step of its own for it.

        For evaluation, where a norm behind the layer is no more than that. Weights and bias are
        made in float64 and rounded once.

        Args:
            scale: (O,) floating.
            shift: (O,) floating.
        """
        twin = copy.deepcopy(self)
        scale, shift = scale.detach().double(), shift.detach().double()
        bias = shift if self.bias is None else self.bias.detach().double() * scale + shift
        weight = self.weight.detach().double() * scale[:, None, None, None]
        twin.weight = nn.Parameter(weight.to(self.weight.dtype), requires_grad=False)
        twin.bias = nn.Parameter(bias.to(self.weight.dtype), requires_grad=False)
        return twin

    def extra_repr(self) -> str:
        """Arguments, for printing the module."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, groups={self.groups}, "
            f"deformable_groups={self.deformable_groups}, bias={self.bias is not None}"
        )


class DeformConv(_DeformableLayer):
    """Deformable convolution, version 1, with offsets from outside; it learns no bias.

    Arguments and errors as in ``ModulatedDeformConv``; a ``bias`` is refused, too. Only what
    ``rescaled`` makes has one.
    """

    can_have_bias = False

    def forward(self, input: Tensor, offset: Tensor) -> Tensor:
        """Output (N, O, P, Q); arguments as in ``deform_conv``."""
        output = deform_conv(input, offset, self.weight, *self._geometry())
        return output if self.bias is None else output + self.bias[:, None, None].to(output.dtype)


class ModulatedDeformConv(_DeformableLayer):
    """Deformable convolution, version 2, with offsets and modulation from outside.

    Args:
        in_channels, out_channels: C and O.
        kernel_size: side, or (height, width), of the kernel.
        stride, padding, dilation, groups, deformable_groups: as in ``deform_conv``.
        bias: whether a learnt number is added to each output channel; None: yes.

    Raises:
        ValueError: channels that the groups do not divide.
    """

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Output (N, O, P, Q); arguments as in ``modulated_deform_conv``."""
        return modulated_deform_conv(input, offset, mask, self.weight, self.bias, *self._geometry())


class ModulatedDeformConvPack(ModulatedDeformConv):
    """Version 2 that predicts offsets and modulation itself; both start neutral (0 and 1/2).

    The predicting convolution ``conv_offset_mask`` has the geometry of this one. Arguments as in
    ``ModulatedDeformConv``.
    """

    def _add_predictions(self) -> None:
        maps = 3 * self.deformable_groups * self.kernel_size[0] * self.kernel_size[1]
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.conv_offset_mask = nn.Conv2d(self.in_channels, maps, *geometry)
        for parameter in self.conv_offset_mask.parameters():
            nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
        """Output (N, O, P, Q) of input (N, C, H, W)."""
        offset, mask = _split(self.conv_offset_mask(input))
        return super().forward(input, offset, mask)


class DFConv2d(nn.Module):
    """Deformable convolution of "same" padding that predicts its own offsets.

    The prediction is the convolution ``offset``, the deformable convolution itself ``conv``.

    Args:
        in_channels: C.
        out_channels: O.
        with_modulated_dcn: version 2 (the last third of the predictions, through a sigmoid, weighs
            the samples) instead of version 1.
        kernel_size: side, or (height, width), of the kernel.
        stride: step of the output, one number or (vertical, horizontal), >= 1.
        groups: G of ``deform_conv``.
        dilation: distance of the taps, >= 1.
        deformable_groups: D of ``deform_conv``.
        bias: whether a learnt number is added to each output channel; version 2 only.

    Raises:
        ValueError: channels that the groups do not divide, or a bias in version 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        with_modulated_dcn: bool = True,
        kernel_size: IntOrPair = 3,
        stride: IntOrPair = 1,
        groups: int = 1,
        dilation: IntOrPair = 1,
        deformable_groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        kernel_hw, spread = as_pair(kernel_size, "kernel_size"), as_pair(dilation, "dilation")
        padding = (spread[0] * (kernel_hw[0] - 1) // 2, spread[1] * (kernel_hw[1] - 1) // 2)
        maps = (3 if with_modulated_dcn else 2) * deformable_groups * kernel_hw[0] * kernel_hw[1]
        self.with_modulated_dcn = with_modulated_dcn
        steps = as_pair(stride, "stride")
        self.offset = nn.Conv2d(in_channels, maps, kernel_hw, steps, padding, spread)
        # Not zero at the start: the deformation begins with the first step.
        nn.init.kaiming_uniform_(self.offset.weight, a=1)
        nn.init.zeros_(self.offset.get_parameter("bias"))
        layer = ModulatedDeformConv if with_modulated_dcn else DeformConv
        geometry = (kernel_hw, stride, padding, spread)
        self.conv = layer(in_channels, out_channels, *geometry, groups, deformable_groups, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Output (N, O, P, Q) of input (N, C, H, W)."""
        predicted = self.offset(x)
        inputs = _split(predicted) if self.with_modulated_dcn else (predicted,)
        output: Tensor = self.conv(x, *inputs)
        return output

    def rescaled(self, scale: Tensor, shift: Tensor) -> Self:
        """A copy whose output is this one's * scale + shift; arguments as of the layer in it."""
        twin = copy.deepcopy(self)
        twin.conv = self.conv.rescaled(scale, shift)
        return twin
