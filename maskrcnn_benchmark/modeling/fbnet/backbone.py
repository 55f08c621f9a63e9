"""FBNet: backbones and heads out of the blocks of an architecture.

Shapes: N images, C channels, H x W cells.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import BatchNorm2d, FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.fbnet.architectures import (
    ARCHITECTURES,
    Architecture,
    Block,
    parse_architecture,
)
from maskrcnn_benchmark.modeling.fbnet.builder import (
    PRIMITIVES,
    BlockSettings,
    ConvBNRelu,
    round_to_multiple,
)
from maskrcnn_benchmark.modeling.make_layers import GroupNormSettings, NormFactory
from maskrcnn_benchmark.modeling.registry import BACKBONES
from maskrcnn_benchmark.modeling.strides import Level


class SizedModule(NamedTuple):
    """A module and the channels of what it returns."""

    module: nn.Module
    out_channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FBNetFactory:
    """Makes the parts of a network.

    Args:
        architecture: its blocks.
        settings: shared by all blocks.
        width_ratio: factor of all channel counts.
    """

    architecture: Architecture
    settings: BlockSettings
    width_ratio: float = 1.0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "FBNetFactory":
        """The factory that MODEL.FBNET describes.

        Raises:
            ConfigError: an unknown or malformed architecture or normalisation, or anchors of
                another stride than the architecture's.
        """
        fbnet = cfg.MODEL.FBNET
        architecture = _architecture(fbnet.ARCH, fbnet.ARCH_DEF)
        strides = tuple(cfg.MODEL.RPN.ANCHOR_STRIDE)
        if architecture.rpn_stride is not None and strides[:1] != (architecture.rpn_stride,):
            raise ConfigError(
                f"MODEL.RPN.ANCHOR_STRIDE: expected ({architecture.rpn_stride},), the stride of "
                f"the architecture {fbnet.ARCH!r}, got {strides}"
            )
        settings = BlockSettings(
            norm=make_norm(cfg, "BN_TYPE"),
            width_divisor=fbnet.WIDTH_DIVISOR,
            depthwise_norm=not fbnet.DW_CONV_SKIP_BN,
            depthwise_relu=not fbnet.DW_CONV_SKIP_RELU,
        )
        return cls(architecture=architecture, settings=settings, width_ratio=fbnet.SCALE_FACTOR)

    def with_norm(self, norm: NormFactory | None) -> "FBNetFactory":
        """The same with another normalisation."""
        return replace(self, settings=replace(self.settings, norm=norm))

    def width(self, channels: float) -> int:
        """A channel count as the network uses it."""
        return round_to_multiple(int(channels), self.settings.width_divisor)

    def first(self, in_channels: int) -> SizedModule:
        """The first convolution."""
        channels, stride, kernel = (*self.architecture.first, 3)[:3]
        out_channels = self.width(channels * self.width_ratio)
        conv = ConvBNRelu(
            in_channels,
            out_channels,
            kernel=kernel,
            stride=stride,
            norm=self.settings.norm,
            relu=True,
        )
        return SizedModule(conv, out_channels)

    def blocks(self, blocks: Mapping[str, Block], in_channels: int) -> SizedModule:
        """The blocks in a row, by their names.

        Raises:
            ConfigError: a block of an unknown name.
        """
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for name, block in blocks.items():
            out_channels = self.width(block.channels * self.width_ratio)
            modules[name] = PRIMITIVES[block.op](
                in_channels, out_channels, block.expansion, block.stride, self.settings
            )
            in_channels = out_channels
        return SizedModule(nn.Sequential(modules), in_channels)

    def last(self, in_channels: int, scale: float) -> SizedModule:
        """A head's last 1x1 convolution; an empty module where it has no channels.

        Args:
            in_channels: channels of the blocks before it.
            scale: factor of the architecture's last channels; negative: of ``in_channels``.
        """
        ratio = max(self.width_ratio, 1.0)
        wanted = int(int(self.architecture.last_channels * ratio) * scale)
        if scale < 0:
            wanted = int(in_channels * -scale)
        out_channels = self.width(wanted)
        if out_channels == 0:
            return SizedModule(nn.Sequential(), in_channels)
        conv = ConvBNRelu(in_channels, out_channels, kernel=1, norm=self.settings.norm, relu=True)
        return SizedModule(conv, out_channels)


class FBNetTrunk(nn.Module):
    """The first convolution and the stages of the backbone."""

    def __init__(self, *, first: nn.Module, stages: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.stages = stages

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """The one map (N, C, H / 16, W / 16) of images (N, 3, H, W)."""
        return (self.stages(self.first(images)),)


class FBNetBackbone(nn.Sequential):
    """A trunk under the name ``body``; called with images, it returns a tuple of one map.

    Attributes:
        out_channels: channels of the map.
        levels: channels and stride of the map.
    """

    def __init__(self, *, body: nn.Module, out_channels: int, stride: int) -> None:
        super().__init__(OrderedDict([("body", body)]))
        self.out_channels = out_channels
        self.levels = (Level(out_channels, stride),)


@BACKBONES.register("FBNet")
def build_fbnet_backbone(cfg: CfgNode) -> FBNetBackbone:
    """The backbone of the architecture that MODEL.FBNET names."""
    factory = FBNetFactory.from_config(cfg)
    first, channels = factory.first(in_channels=3)
    blocks = factory.architecture.blocks_of("backbone")
    stages, channels = factory.blocks(blocks, channels)
    _, stride = factory.architecture.first[:2]
    for block in blocks.values():
        stride = stride * block.stride if block.stride > 0 else stride // -block.stride
    trunk = FBNetTrunk(first=first, stages=stages)
    return FBNetBackbone(body=trunk, out_channels=channels, stride=stride)


def make_norm(cfg: CfgNode, key: str) -> NormFactory | None:
    """The normalisation that MODEL.FBNET.<key> names.

    Raises:
        ConfigError: an unknown name.
    """
    name = cfg.MODEL.FBNET[key]
    group_norm = GroupNormSettings.from_config(cfg)
    known: dict[str, NormFactory | None] = {
        "bn": BatchNorm2d,
        "af": FrozenBatchNorm2d,
        "gn": group_norm,
        "": None,
    }
    if name not in known:
        raise ConfigError(f"MODEL.FBNET.{key}: expected one of {tuple(known)}, got {name!r}")
    return known[name]


def _architecture(name: str, definition: str) -> Architecture:
    if not definition:
        return ARCHITECTURES[name]
    architecture = parse_architecture(definition)
    if ARCHITECTURES.get(name, architecture) != architecture:
        raise ConfigError(
            f"MODEL.FBNET.ARCH_DEF: differs from the built-in architecture {name!r}; give it a "
            "name of its own in MODEL.FBNET.ARCH"
        )
    return architecture
