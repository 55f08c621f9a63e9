"""Building blocks of the FBNet search space, by the names that architectures use.

Shapes: N images, C channels, H x W cells. A block or module is called with (N, C_in, H, W) and
returns (N, C_out, H', W').

Source: FBNet (Wu et al., arXiv 1812.03443), section 3.1; the blocks are the inverted residuals of
MobileNetV2 (Sandler et al., arXiv 1801.04381) with other kernels, groups and shuffles.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config.registry import Registry
from maskrcnn_benchmark.layers import BatchNorm2d, Conv2d
from maskrcnn_benchmark.modeling.make_layers import NormFactory, init_kaiming_normal

BlockFactory: TypeAlias = Callable[..., nn.Module]
"""(in_channels, out_channels, expansion, stride, settings=BlockSettings()) -> block."""

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


class _Residual(nn.Sequential):
    is_residual: bool

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_out, H', W') features, with the input added where the block is residual."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y + x if self.is_residual else y


class CascadeConv3x3(_Residual):
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


class ShiftBlock5x5(_Residual):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSettings:
    """What all blocks of a network share.

    Args:
        norm: channels -> normalisation; None for none.
        width_divisor: hidden channels are rounded to a multiple of it.
        depthwise_norm: whether normalisation follows depthwise convolutions.
        depthwise_relu: whether ReLU follows them.
    """

    norm: NormFactory | None = BatchNorm2d
    width_divisor: int = 1
    depthwise_norm: bool = True
    depthwise_relu: bool = True


_DEFAULTS = BlockSettings()


class IRFBlock(nn.Module):
    """Inverted residual: pointwise, depthwise, pointwise; the input is added at equal shape.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        expansion: hidden channels / C_in.
        stride: 1, 2 or 4; negative numbers enlarge by as much.
        settings: shared by all blocks.
        kernel: side of the depthwise kernel, odd; 1 leaves the depthwise convolution out.
        groups: of the pointwise convolutions; more than one needs a ``shuffle`` to mix them.
        shuffle: interleave the groups behind the first convolution.
        squeeze: end with squeeze and excitation.
        twice: two depthwise convolutions in a row.

    Raises:
        ValueError: an impossible stride or kernel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: float,
        stride: int,
        settings: BlockSettings = _DEFAULTS,
        *,
        kernel: int = 3,
        groups: int = 1,
        shuffle: bool = False,
        squeeze: bool = False,
        twice: bool = False,
    ) -> None:
        super().__init__()
        check_stride(stride, (1, 2, 4, -1, -2, -4))
        if kernel not in (1, 3, 5, 7):
            raise ValueError(f"kernel: expected 1, 3, 5 or 7, got {kernel}")
        hidden = round_to_multiple(int(in_channels * expansion), settings.width_divisor)
        pointwise = partial(ConvBNRelu, kernel=1, groups=groups, norm=settings.norm)
        self.is_residual = stride == 1 and in_channels == out_channels
        self.pw = pointwise(in_channels, hidden, relu=True)
        self.shuffle = ChannelShuffle(groups) if shuffle else nn.Identity()
        self.upscale = Upsample(-stride) if stride < 0 else nn.Identity()
        self.dw = _depthwise(hidden, kernel, max(stride, 1), settings, twice=twice)
        self.pwl = pointwise(hidden, out_channels, relu=False)
        self.se4 = SEModule(out_channels) if squeeze else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_out, H', W') features."""
        hidden = self.upscale(self.shuffle(self.pw(x)))
        y = self.pwl(self.dw(hidden))
        result: Tensor = self.se4(y + x if self.is_residual else y)
        return result


def _depthwise(
    channels: int, kernel: int, stride: int, settings: BlockSettings, *, twice: bool
) -> nn.Module:
    if kernel == 1:
        return nn.Sequential()
    conv = partial(ConvBNRelu, channels, channels, kernel=kernel, groups=channels)
    last = partial(
        conv,
        norm=settings.norm if settings.depthwise_norm else None,
        relu=settings.depthwise_relu,
    )
    if not twice:
        return last(stride=stride)
    first = conv(stride=stride, norm=settings.norm, relu=True)
    return nn.Sequential(OrderedDict([("dw1", first), ("dw2", last())]))


def _inverted_residual(fixed_expansion: float, **options: Any) -> BlockFactory:
    """A factory of ``IRFBlock``s with an expansion of its own, whatever is asked for."""
    return lambda in_channels, out_channels, _expansion, stride, settings=_DEFAULTS: IRFBlock(
        in_channels, out_channels, fixed_expansion, stride, settings, **options
    )


def _primitives() -> dict[str, BlockFactory]:
    blocks: dict[str, BlockFactory] = {
        # These three know nothing of the settings, and two of them nothing of an expansion.
        "skip": lambda cin, cout, _, stride, __=_DEFAULTS: Identity(cin, cout, stride),
        "basic_block": lambda cin, cout, _, stride, __=_DEFAULTS: CascadeConv3x3(cin, cout, stride),
        "shift_5x5": lambda cin, cout, e, stride, _=_DEFAULTS: ShiftBlock5x5(cin, cout, e, stride),
        "shuffle": partial(IRFBlock, groups=4, shuffle=True),
        "ir_k3_sep": partial(IRFBlock, kernel=3, twice=True),
        "ir_k7_sep": partial(IRFBlock, kernel=7, twice=True),
    }
    # ir: inverted residual; k: kernel; e: expansion; s: groups, shuffled; sep: two depthwise
    # convolutions in a row (k33 likewise); se: squeeze and excitation.
    blocks |= {f"ir_k{kernel}": partial(IRFBlock, kernel=kernel) for kernel in (1, 3, 5, 7)}
    make = _inverted_residual
    for kernel, ending in itertools.product((3, 5), ("", "_se")):
        options: dict[str, Any] = {"kernel": kernel, "squeeze": ending == "_se"}
        for expansion in (1, 3, 6):
            blocks[f"ir_k{kernel}_e{expansion}{ending}"] = make(expansion, **options)
        for groups, expansion in ((4, 4), (2, 1)):
            name = f"ir_k{kernel}_s{groups}{ending}"
            blocks[name] = make(expansion, groups=groups, shuffle=True, **options)
    for expansion in (1, 3, 6):
        blocks[f"ir_k33_e{expansion}"] = make(expansion, kernel=3, twice=True)
        blocks[f"ir_k7_e{expansion}"] = make(expansion, kernel=7)
        blocks[f"ir_k7_sep_e{expansion}"] = make(expansion, kernel=7, twice=True)
    return blocks


PRIMITIVES = Registry[BlockFactory]("block (MODEL.FBNET.ARCH_DEF)", _primitives())
"""Names that architectures use -> factories (in_channels, out_channels, expansion, stride)."""
