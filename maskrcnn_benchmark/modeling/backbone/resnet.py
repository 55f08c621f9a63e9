"""ResNet and ResNeXt bodies (He et al., arXiv 1512.03385; Xie et al., arXiv 1611.05431)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.make_layers import (
    GroupNormSettings,
    NormFactory,
    init_kaiming_uniform,
)

# Bottlenecks per stage C2..C5.
BLOCKS_PER_STAGE = {
    "R-50": (3, 4, 6, 3),
    "R-101": (3, 4, 23, 3),
    "R-152": (3, 8, 36, 3),
}
# Values of MODEL.RESNETS.STEM_FUNC and TRANS_FUNC -> whether they mean group normalisation.
_STEM_FUNCS = {"StemWithFixedBatchNorm": False, "StemWithGN": True}
_TRANS_FUNCS = {"BottleneckWithFixedBatchNorm": False, "BottleneckWithGN": True}


@dataclass(frozen=True, slots=True)
class ResNetSettings:
    """What distinguishes one residual network from another.

    Args:
        blocks_per_stage: bottlenecks in C2, C3, C4, C5.
        stem_channels: channels after the 7x7 convolution.
        res2_channels: output channels of C2; each later stage doubles them.
        num_groups: groups of the 3x3 convolutions (32 in ResNeXt-32x8d).
        width_per_group: channels of one group in C2 (64, or 8 in ResNeXt-32x8d).
        stride_in_1x1: a stage's stride sits on its first 1x1 convolution (MSRA, Caffe2) instead of
            the 3x3 one (torchvision).
        freeze_at: the first `freeze_at` of (stem, C2, C3, C4, C5) get no gradient.
    """

    blocks_per_stage: tuple[int, ...]
    stem_channels: int = 64
    res2_channels: int = 256
    num_groups: int = 1
    width_per_group: int = 64
    stride_in_1x1: bool = True
    freeze_at: int = 2


def _make_norm(cfg: CfgNode, key: str, functions: Mapping[str, bool]) -> NormFactory:
    name = cfg.MODEL.RESNETS[key]
    if name not in functions:
        raise ConfigError(
            f"MODEL.RESNETS.{key}: expected one of {', '.join(functions)}; got {name!r}"
        )
    return GroupNormSettings.from_config(cfg) if functions[name] else FrozenBatchNorm2d


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions added to their input (or to its 1x1 projection)."""

    def __init__(
        self,
        *,
        in_channels: int,
        bottleneck_channels: int,
        out_channels: int,
        num_groups: int,
        stride_in_1x1: bool,
        stride: int,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                norm(out_channels),
            )
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride_1x1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride_3x3, padding=1, groups=num_groups, bias=False
        )
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_kaiming_uniform(module)

    def forward(self, x: Tensor) -> Tensor:
        """Block output (N, out_channels, H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + identity)


class Stem(nn.Module):
    """7x7 stride-2 convolution, normalisation, ReLU and 3x3 stride-2 max-pooling."""

    def __init__(self, *, out_channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, out_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(out_channels)
        init_kaiming_uniform(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, out_channels, H / 4, W / 4) of an image batch (N, 3, H, W)."""
        x = torch.relu(self.bn1(self.conv1(x)))
        return nn.functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class ResNet(nn.Module):
    """The residual body; maps C2..C5 have strides 4, 8, 16 and 32.

    Args:
        settings: depth, width and frozen stages.
        stem_norm, block_norm: channels -> normalisation layer.
    """

    def __init__(
        self,
        *,
        settings: ResNetSettings,
        stem_norm: NormFactory = FrozenBatchNorm2d,
        block_norm: NormFactory = FrozenBatchNorm2d,
    ) -> None:
        super().__init__()
        self.stem = Stem(out_channels=settings.stem_channels, norm=stem_norm)
        in_channels = settings.stem_channels
        self.stage_names = [f"layer{i}" for i in range(1, len(settings.blocks_per_stage) + 1)]
        self.out_channels_per_stage: list[int] = []
        for index, name in enumerate(self.stage_names):
            out_channels = settings.res2_channels * 2**index
            stage = _make_stage(settings, index, in_channels, out_channels, block_norm)
            self.add_module(name, stage)
            self.out_channels_per_stage.append(out_channels)
            in_channels = out_channels
        for name in ["stem", *self.stage_names][: settings.freeze_at]:
            self.get_submodule(name).requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode, blocks_per_stage: Sequence[int]) -> "ResNet":
        """A body of the given depth with the widths and norms of MODEL.RESNETS."""
        resnets = cfg.MODEL.RESNETS
        settings = ResNetSettings(
            blocks_per_stage=tuple(blocks_per_stage),
            stem_channels=resnets.STEM_OUT_CHANNELS,
            res2_channels=resnets.RES2_OUT_CHANNELS,
            num_groups=resnets.NUM_GROUPS,
            width_per_group=resnets.WIDTH_PER_GROUP,
            stride_in_1x1=resnets.STRIDE_IN_1X1,
            freeze_at=max(cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT, 0),
        )
        return cls(
            settings=settings,
            stem_norm=_make_norm(cfg, "STEM_FUNC", _STEM_FUNCS),
            block_norm=_make_norm(cfg, "TRANS_FUNC", _TRANS_FUNCS),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps (C2, C3, C4, C5) of an image batch (N, 3, H, W)."""
        x = self.stem(images)
        features = []
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
            features.append(x)
        return tuple(features)


def _make_stage(
    settings: ResNetSettings, index: int, in_channels: int, out_channels: int, norm: NormFactory
) -> nn.Sequential:
    width = settings.num_groups * settings.width_per_group * 2**index
    first_stride = 1 if index == 0 else 2
    return nn.Sequential(
        *(
            Bottleneck(
                in_channels=in_channels if block == 0 else out_channels,
                bottleneck_channels=width,
                out_channels=out_channels,
                num_groups=settings.num_groups,
                stride_in_1x1=settings.stride_in_1x1,
                stride=first_stride if block == 0 else 1,
                norm=norm,
            )
            for block in range(settings.blocks_per_stage[index])
        )
    )
