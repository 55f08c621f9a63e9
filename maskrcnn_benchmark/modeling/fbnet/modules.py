"""Small modules that the blocks of the FBNet search space are made of.

Shapes: N images, C channels, H x W cells. A module is called with (N, C_in, H, W) and returns
(N, C_out, H', W').
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers import BatchNorm2d, Conv2d
from maskrcnn_benchmark.modeling.make_layers import NormFactory, init_kaiming_normal

_REDUCTION = 4
_SMALLEST_SQUEEZE = 8
_SHIFT_DIVISOR = 8


def round_to_multiple(number: float, divisor: int) -> int:
    """The multiple of ``divisor`` nearest to ``number``, halves go up; its square where that is 0.

    A divisor below 2 keeps the integer part, and 0 stays 0.
    """
    if divisor <= 1 or number % divisor == 0:
        return int(number)
    # UPSTREAM(tiny-widths): fbnet_builder.py meant one multiple at least, but multiplied once more;
    # checkpoints of strongly scaled networks have these shapes.
    return (int(number / divisor + 0.5) or divisor) * divisor


def check_stride(stride: int, known: tuple[int, ...]) -> None:
    """Raise ValueError unless the stride is a known one."""
    if stride not in known:
        raise ValueError(f"stride: expected one of {known}, got {stride}")


class ConvBNRelu(nn.Sequential):
    """A same-padded convolution without bias, normalisation and ReLU where they are asked for."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        norm: NormFactory | None,
        relu: bool,
    ) -> None:
        conv = Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        init_kaiming_normal(conv)
        layers: list[tuple[str, nn.Module]] = [("conv", conv)]
        if norm is not None:
            layers.append(("bn", norm(out_channels)))
        if relu:
            layers.append(("relu", nn.ReLU(inplace=True)))
        super().__init__(OrderedDict(layers))


class Identity(nn.Module):
    """The input itself; where the shape changes, a 1x1 convolution with normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv: nn.Module | None = None
        if in_channels != out_channels or stride != 1:
            self.conv = ConvBNRelu(
                in_channels, out_channels, kernel=1, stride=stride, norm=BatchNorm2d, relu=True
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_out, H', W') features."""
        return x if self.conv is None else self.conv(x)


class CascadeConv3x3(nn.Sequential):
    """Two 3x3 convolutions, and the input added where the shape is the same.

    Raises:
        ValueError: a stride other than 1 and 2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        check_stride(stride, (1, 2))
        super().__init__(
            Conv2d(in_channels, in_channels, 3, stride, 1, bias=False),
            BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            BatchNorm2d(out_channels),
        )
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_out, H', W') features."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y + x if self.is_residual else y


class Shift(nn.Module):
    """Moves groups of channels to all cells of a window, with a fixed kernel.

    Source: Shift (Wu et al., arXiv 1711.08141), section 3.1.

    Args:
        channels: C; the remainder of C / kernel_size^2 stays where it is.
        kernel_size: side of the window, odd.
        stride: 1 or 2.
        padding: cells added on each side.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        check_stride(stride, (1, 2))
        cells = kernel_size**2
        per_cell = torch.full((cells,), channels // cells)
        per_cell[cells // 2] += channels % cells
        cell_of_channel = torch.repeat_interleave(torch.arange(cells), per_cell)
        kernel = F.one_hot(cell_of_channel, cells).float()
        self.kernel = nn.Parameter(
            kernel.reshape(channels, 1, kernel_size, kernel_size), requires_grad=False
        )
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H', W') shifted features."""
        groups = len(self.kernel)
        return F.conv2d(x, self.kernel, stride=self.stride, padding=self.padding, groups=groups)


class ShiftBlock5x5(nn.Sequential):
    """1x1 convolution, 5x5 shift, 1x1 convolution; the input is added where the shape is the same.

    Raises:
        ValueError: a stride other than 1 and 2.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: float, stride: int) -> None:
        hidden = round_to_multiple(in_channels * expansion, _SHIFT_DIVISOR)
        super().__init__(
            Conv2d(in_channels, hidden, 1, bias=False),
            BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            Shift(hidden, 5, stride, 2),
            Conv2d(hidden, out_channels, 1, bias=False),
            BatchNorm2d(out_channels),
        )
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_out, H', W') features."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y + x if self.is_residual else y


class ChannelShuffle(nn.Module):
    """Interleaves the channels of the groups (ShuffleNet, arXiv 1707.01083, section 3.1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W): channel c of group g moves to c * groups + g.

        Raises:
            ValueError: the channels cannot be divided into the groups.
        """
        if x.shape[1] % self.groups != 0:
            raise ValueError(f"{x.shape[1]} channels cannot be divided into {self.groups} groups")
        num_images, channels, height, width = x.shape
        grouped = x.reshape(num_images, self.groups, channels // self.groups, height, width)
        return grouped.transpose(1, 2).flatten(1, 2)


class SEModule(nn.Module):
    """Squeeze and excitation (Hu et al., arXiv 1709.01507): channels scaled by their average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(channels // _REDUCTION, _SMALLEST_SQUEEZE)
        self.op = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) scaled features."""
        scales: Tensor = self.op(x)
        return x * scales


class Upsample(nn.Module):
    """Nearest-neighbour enlargement by ``scale``."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H * scale, W * scale) features."""
        height, width = x.shape[-2:]
        return F.interpolate(x, size=(height * self.scale, width * self.scale), mode="nearest")
