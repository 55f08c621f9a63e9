"""Building blocks of the FBNet search space, by the names that architectures use.

Shapes: N images, C channels, H x W cells. A block is called with (N, C_in, H, W) and returns
(N, C_out, H', W').

Source: FBNet (Wu et al., arXiv 1812.03443), section 3.1; the blocks are the inverted residuals of
MobileNetV2 (Sandler et al., arXiv 1801.04381) with other kernels, groups and shuffles.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import Tensor, nn

from maskrcnn_benchmark.layers import BatchNorm2d
from maskrcnn_benchmark.modeling.fbnet.modules import (
    CascadeConv3x3,
    ChannelShuffle,
    ConvBNRelu,
    Identity,
    SEModule,
    Shift,
    ShiftBlock5x5,
    Upsample,
    check_stride,
    round_to_multiple,
)
from maskrcnn_benchmark.modeling.make_layers import NormFactory

__all__ = [
    "PRIMITIVES",
    "BlockSettings",
    "CascadeConv3x3",
    "ChannelShuffle",
    "ConvBNRelu",
    "IRFBlock",
    "Identity",
    "SEModule",
    "Shift",
    "ShiftBlock5x5",
    "Upsample",
    "round_to_multiple",
]

BlockFactory: TypeAlias = Callable[..., nn.Module]
"""(in_channels, out_channels, expansion, stride, settings=BlockSettings()) -> block."""


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
        self.shuffle = ChannelShuffle(groups) if shuffle else None
        self.upscale = Upsample(-stride) if stride < 0 else None
        self.dw = _depthwise(hidden, kernel, max(stride, 1), settings, twice=twice)
        self.pwl = pointwise(hidden, out_channels, relu=False)
        self.se4 = SEModule(out_channels) if squeeze else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_out, H', W') features."""
        y: Tensor = self.pw(x)
        if self.shuffle is not None:
            y = self.shuffle(y)
        if self.upscale is not None:
            y = self.upscale(y)
        y = self.pwl(self.dw(y))
        if self.is_residual:
            y = y + x
        result: Tensor = self.se4(y)
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


def _inverted_residual(fixed_expansion: float | None = None, **options: Any) -> BlockFactory:
    """A factory of ``IRFBlock``s; a fixed expansion replaces the one that is asked for."""

    def build(
        in_channels: int,
        out_channels: int,
        expansion: float,
        stride: int,
        settings: BlockSettings = _DEFAULTS,
    ) -> IRFBlock:
        chosen = expansion if fixed_expansion is None else fixed_expansion
        return IRFBlock(in_channels, out_channels, chosen, stride, settings, **options)

    return build


def _plain(block: Callable[[int, int, int], nn.Module]) -> BlockFactory:
    """A factory of blocks that know neither expansion nor settings."""

    def build(
        in_channels: int,
        out_channels: int,
        expansion: float,
        stride: int,
        settings: BlockSettings = _DEFAULTS,
    ) -> nn.Module:
        del expansion, settings
        return block(in_channels, out_channels, stride)

    return build


def _shift_block(
    in_channels: int,
    out_channels: int,
    expansion: float,
    stride: int,
    settings: BlockSettings = _DEFAULTS,
) -> ShiftBlock5x5:
    del settings
    return ShiftBlock5x5(in_channels, out_channels, expansion, stride)


def _primitives() -> dict[str, BlockFactory]:
    blocks: dict[str, BlockFactory] = {
        "skip": _plain(Identity),
        "basic_block": _plain(CascadeConv3x3),
        "shift_5x5": _shift_block,
        "shuffle": _inverted_residual(groups=4, shuffle=True),
    }
    # ir: inverted residual; k: kernel; e: expansion; s: groups, shuffled; sep: two depthwise
    # convolutions in a row (k33 likewise); se: squeeze and excitation.
    for kernel in (1, 3, 5, 7):
        blocks[f"ir_k{kernel}"] = _inverted_residual(kernel=kernel)
    for ending, squeeze in (("", False), ("_se", True)):
        for kernel in (3, 5):
            option = {"kernel": kernel, "squeeze": squeeze}
            for expansion in (1, 3, 6):
                blocks[f"ir_k{kernel}_e{expansion}{ending}"] = _inverted_residual(
                    expansion, **option
                )
            for groups, expansion in ((4, 4), (2, 1)):
                blocks[f"ir_k{kernel}_s{groups}{ending}"] = _inverted_residual(
                    expansion, groups=groups, shuffle=True, **option
                )
    blocks["ir_k3_sep"] = _inverted_residual(kernel=3, twice=True)
    blocks["ir_k7_sep"] = _inverted_residual(kernel=7, twice=True)
    for expansion in (1, 3, 6):
        blocks[f"ir_k33_e{expansion}"] = _inverted_residual(expansion, kernel=3, twice=True)
        blocks[f"ir_k7_e{expansion}"] = _inverted_residual(expansion, kernel=7)
        blocks[f"ir_k7_sep_e{expansion}"] = _inverted_residual(expansion, kernel=7, twice=True)
    return blocks


PRIMITIVES: Mapping[str, BlockFactory] = MappingProxyType(_primitives())
"""Names that architectures use -> factories (in_channels, out_channels, expansion, stride)."""
