"""MobileNetV2 body (Sandler et al., arXiv 1801.04381), width 1.0, with frozen batch norm."""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.layers import FrozenBatchNorm2d, NormSequential
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.make_layers import init_kaiming_normal, make_conv


class InvertedResidualSpec(NamedTuple):
    """One row of the paper's Table 2."""

    expansion: int
    channels: int
    repeats: int
    stride: int


STEM_CHANNELS = 32
INVERTED_RESIDUALS = (
    InvertedResidualSpec(1, 16, 1, 1),
    InvertedResidualSpec(6, 24, 2, 2),
    InvertedResidualSpec(6, 32, 3, 2),
    InvertedResidualSpec(6, 64, 4, 2),
    InvertedResidualSpec(6, 96, 3, 1),
    InvertedResidualSpec(6, 160, 3, 2),
    InvertedResidualSpec(6, 320, 1, 1),
)
# The blocks whose outputs are C2, C3, C4 and C5 (strides 4, 8, 16, 32), and their channels.
STAGE_ENDS = (3, 6, 13, 17)
STAGE_CHANNELS = (24, 32, 96, 320)
# Index behind the last block of (stem, C2, C3, C4, C5): what FREEZE_CONV_BODY_AT counts.
_FREEZE_ENDS = (0, 2, 4, 7, 14, 18)


_conv_norm = partial(make_conv, norm=FrozenBatchNorm2d, init=init_kaiming_normal)


def _inverted_bottleneck(
    in_channels: int, out_channels: int, *, expansion: int, stride: int
) -> nn.Sequential:
    """1x1 expansion, 3x3 depthwise and linear 1x1 projection."""
    hidden = in_channels * expansion
    layers: list[nn.Module] = []
    if expansion != 1:
        layers += [*_conv_norm(in_channels, hidden, 1).children(), nn.ReLU6(inplace=True)]
    depthwise = _conv_norm(hidden, hidden, 3, stride=stride, groups=hidden)
    layers += [*depthwise.children(), nn.ReLU6(inplace=True)]
    layers += _conv_norm(hidden, out_channels, 1).children()
    return nn.Sequential(OrderedDict(conv=NormSequential(*layers)))


class MobileNetV2(Body):
    """The body without its classifier; maps C2..C5 have strides 4, 8, 16 and 32.

    Args:
        freeze_at: the first ``freeze_at`` of (stem, C2, C3, C4, C5) get no gradient, 0..5.
    """

    out_channels_per_stage = STAGE_CHANNELS

    def __init__(self, *, freeze_at: int = 0) -> None:
        super().__init__()
        stem = _conv_norm(3, STEM_CHANNELS, 3, stride=2)
        blocks: list[nn.Module] = [NormSequential(*stem.children(), nn.ReLU6(inplace=True))]
        self.residual_blocks: set[int] = set()
        in_channels = STEM_CHANNELS
        for spec in INVERTED_RESIDUALS:
            for repeat in range(spec.repeats):
                if repeat > 0:
                    self.residual_blocks.add(len(blocks))
                block = _inverted_bottleneck(
                    in_channels,
                    spec.channels,
                    expansion=spec.expansion,
                    stride=spec.stride if repeat == 0 else 1,
                )
                blocks.append(block)
                in_channels = spec.channels
        self.features = nn.Sequential(*blocks)
        for part in self.features[: _FREEZE_ENDS[freeze_at]]:
            part.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "MobileNetV2":
        """A body with the frozen stages of MODEL.BACKBONE.FREEZE_CONV_BODY_AT."""
        return cls(freeze_at=min(max(cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT, 0), 5))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps (C2, C3, C4, C5) of an image batch (N, 3, H, W)."""
        x = images
        features = []
        for index, block in enumerate(self.features):
            x = x + block(x) if index in self.residual_blocks else block(x)
            if index in STAGE_ENDS:
                features.append(x)
        return tuple(features)
