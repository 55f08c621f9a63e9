"""ResNet and ResNeXt bodies (He et al., arXiv 1512.03385; Xie et al., arXiv 1611.05431)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import FrozenBatchNorm2d, NormSequential, conv_norm
from maskrcnn_benchmark.layers.padding import pad_at_the_end
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.backbone.deformable import NOT_DEFORMABLE, DeformableSettings
from maskrcnn_benchmark.modeling.make_layers import (
    BatchNormSettings,
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
# Index of C5 among the stages.
_RES5 = 3
_STEM_STRIDE = 4
# Ends of the values of MODEL.RESNETS.STEM_FUNC and TRANS_FUNC -> what makes the norms.
_NORMS: Mapping[str, Callable[[CfgNode], NormFactory]] = {
    "FixedBatchNorm": lambda _: FrozenBatchNorm2d,
    "BatchNorm": BatchNormSettings.from_config,
    "GN": GroupNormSettings.from_config,
}


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
        res5_dilation: dilation of the 3x3 convolutions of C5; 2 keeps C5 at the stride of C4.
        deformable: which stages have deformable 3x3 convolutions.
        pads_stem_at_the_end: the stem's pooling pads even sides at the right and bottom alone.
        trains_frozen_norms: batch norms of frozen parts learn, too: their kernels alone are frozen.
        freeze_at: the first ``freeze_at`` of (stem, C2, C3, C4, C5) get no gradient.
    """

    blocks_per_stage: tuple[int, ...]
    stem_channels: int = 64
    res2_channels: int = 256
    num_groups: int = 1
    width_per_group: int = 64
    stride_in_1x1: bool = True
    res5_dilation: int = 1
    deformable: DeformableSettings = NOT_DEFORMABLE
    freeze_at: int = 2
    pads_stem_at_the_end: bool = False
    trains_frozen_norms: bool = False

    @classmethod
    def from_config(cls, cfg: CfgNode, blocks_per_stage: Sequence[int]) -> "ResNetSettings":
        """The widths of MODEL.RESNETS with the given depth.

        Raises:
            ConfigError: if RES5_DILATION is neither 1 nor 2, or as ``DeformableSettings`` says.
        """
        resnets = cfg.MODEL.RESNETS
        if resnets.RES5_DILATION not in (1, 2):
            raise ConfigError(
                f"MODEL.RESNETS.RES5_DILATION: expected 1 or 2, got {resnets.RES5_DILATION}"
            )
        return cls(
            blocks_per_stage=tuple(blocks_per_stage),
            stem_channels=resnets.STEM_OUT_CHANNELS,
            res2_channels=resnets.RES2_OUT_CHANNELS,
            num_groups=resnets.NUM_GROUPS,
            width_per_group=resnets.WIDTH_PER_GROUP,
            stride_in_1x1=resnets.STRIDE_IN_1X1,
            res5_dilation=resnets.RES5_DILATION,
            deformable=DeformableSettings.from_config(cfg, "RESNETS"),
            freeze_at=cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT,
            pads_stem_at_the_end=resnets.PAD_STEM_AT_THE_END,
            trains_frozen_norms=resnets.TRAIN_FROZEN_NORMS,
        )


def _make_norm(cfg: CfgNode, key: str, part: str) -> NormFactory:
    name = cfg.MODEL.RESNETS[key]
    functions = {f"{part}With{norm}": make for norm, make in _NORMS.items()}
    if name not in functions:
        raise ConfigError(
            f"MODEL.RESNETS.{key}: expected one of {', '.join(functions)}; got {name!r}"
        )
    return functions[name](cfg)


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
        dilation: int = 1,
        deformable: DeformableSettings | None = None,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        if in_channels != out_channels:
            self.downsample = NormSequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                norm(out_channels),
            )
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride_1x1, bias=False)
        self.bn1 = norm(width)
        conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=dilation, bias=False)
        self.conv2 = (deformable.make_conv if deformable else conv3x3)(
            width, width, stride=stride_3x3, dilation=dilation, groups=num_groups
        )
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        for name, module in self.named_modules():
            # Offsets of this name start at 0.
            if isinstance(module, nn.Conv2d) and not name.endswith("conv_offset_mask"):
                init_kaiming_uniform(module)

    def forward(self, x: Tensor) -> Tensor:
        """Block output (N, out_channels, H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        # In place where nobody needs what was there: large maps cost more than their arithmetic.
        out = torch.relu_(conv_norm(self.conv1, self.bn1, x))
        out = torch.relu_(conv_norm(self.conv2, self.bn2, out))
        out = conv_norm(self.conv3, self.bn3, out)
        out += identity
        return torch.relu_(out)


class Stem(nn.Module):
    """7x7 stride-2 convolution, normalisation, ReLU and 3x3 stride-2 max-pooling."""

    def __init__(
        self, *, out_channels: int, norm: NormFactory, pads_at_the_end: bool = False
    ) -> None:
        super().__init__()
        self.pads_at_the_end = pads_at_the_end
        self.conv1 = nn.Conv2d(3, out_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(out_channels)
        init_kaiming_uniform(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, out_channels, H / 4, W / 4) of an image batch (N, 3, H, W)."""
        x = torch.relu_(conv_norm(self.conv1, self.bn1, x))
        if self.pads_at_the_end:
            # Nothing is below the zeros behind a ReLU.
            return nn.functional.max_pool2d(pad_at_the_end(x), kernel_size=3, stride=2)
        return nn.functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class ResNet(Body):
    """The residual body; maps C2..C5 have strides 4, 8, 16 and 32 (C5: 16 if it is dilated).

    Args:
        settings: depth, width and frozen stages; fewer than four stages end the body early.
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
        self.stem = Stem(
            out_channels=settings.stem_channels,
            norm=stem_norm,
            pads_at_the_end=settings.pads_stem_at_the_end,
        )
        self.stage_names = [f"layer{i}" for i in range(1, len(settings.blocks_per_stage) + 1)]
        for index, name in enumerate(self.stage_names):
            self.add_module(name, _make_stage(settings, index, block_norm))
        stages = range(len(self.stage_names))
        self.out_channels_per_stage = [_stage_channels(settings, index) for index in stages]
        strides = [_STEM_STRIDE]
        for index in stages[1:]:
            strides.append(strides[-1] * _first_stride(settings, index))
        self.strides = strides
        self.freeze_first(
            settings.freeze_at, self.children(), with_norms=not settings.trains_frozen_norms
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, blocks_per_stage: Sequence[int]) -> "ResNet":
        """A body of the given depth with the widths and norms of MODEL.RESNETS."""
        return cls(
            settings=ResNetSettings.from_config(cfg, blocks_per_stage),
            stem_norm=_make_norm(cfg, "STEM_FUNC", "Stem"),
            block_norm=_make_norm(cfg, "TRANS_FUNC", "Bottleneck"),
        )


class ResNetHead(nn.Module):
    """The fifth stage as a head: what the box and mask heads of C4 models run on each roi.

    Args:
        settings: widths; the depth of the stage is the last of ``blocks_per_stage``, and nothing
            is frozen.
        norm: channels -> normalisation layer.

    Attributes:
        out_channels: channels of the result.
    """

    def __init__(self, *, settings: ResNetSettings, norm: NormFactory = FrozenBatchNorm2d) -> None:
        super().__init__()
        self.layer4 = _make_stage(settings, _RES5, norm)
        self.out_channels = _stage_channels(settings, _RES5)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ResNetHead":
        """The stage with the widths, dilation and norms of MODEL.RESNETS.

        Its depth is that of every ResNet from 50 to 152, whose fifth stages are equal.
        """
        return cls(
            settings=ResNetSettings.from_config(cfg, BLOCKS_PER_STAGE["R-50"]),
            norm=_make_norm(cfg, "TRANS_FUNC", "Bottleneck"),
        )

    def forward(self, rois: Tensor) -> Tensor:
        """Features (R, out_channels, M / 2, M / 2) of pooled C4 features (R, C, M, M).

        With dilation the side stays M.
        """
        features: Tensor = self.layer4(rois)
        return features


def _stage_channels(settings: ResNetSettings, index: int) -> int:
    channels: int = settings.res2_channels * 2**index
    return channels


def _dilation(settings: ResNetSettings, index: int) -> int:
    return settings.res5_dilation if index == _RES5 else 1


def _first_stride(settings: ResNetSettings, index: int) -> int:
    return 1 if index == 0 or _dilation(settings, index) > 1 else 2


def _make_stage(settings: ResNetSettings, index: int, norm: NormFactory) -> nn.Sequential:
    """Stage C(index + 2)."""
    out_channels = _stage_channels(settings, index)
    in_channels = _stage_channels(settings, index - 1) if index else settings.stem_channels
    return nn.Sequential(
        *(
            Bottleneck(
                in_channels=out_channels if block else in_channels,
                bottleneck_channels=settings.num_groups * settings.width_per_group * 2**index,
                out_channels=out_channels,
                num_groups=settings.num_groups,
                stride_in_1x1=settings.stride_in_1x1,
                stride=1 if block else _first_stride(settings, index),
                dilation=_dilation(settings, index),
                deformable=settings.deformable if settings.deformable.is_at(index, block) else None,
                norm=norm,
            )
            for block in range(settings.blocks_per_stage[index])
        )
    )
