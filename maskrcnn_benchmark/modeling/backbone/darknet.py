"""DarkNet-53 body (Redmon and Farhadi, YOLOv3, arXiv 1804.02767, section 2.4)."""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.make_layers import (
    BatchNormSettings,
    NormFactory,
    init_kaiming_uniform,
)

BLOCKS_PER_STAGE: Final = (1, 2, 8, 8, 4)
_STEM_CHANNELS: Final = 32
_NEGATIVE_SLOPE: Final = 0.1


def _make_unit(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, norm: NormFactory
) -> nn.Sequential:
    """Convolution without bias, norm, leaky ReLU; same-padded."""
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    init_kaiming_uniform(conv)
    return nn.Sequential(conv, norm(out_channels), nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True))


class DarkNetBlock(nn.Module):
    """A 1x1 unit to half the channels and a 3x3 one back, added to the input."""

    def __init__(self, *, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = _make_unit(channels, channels // 2, 1, 1, norm)
        self.conv2 = _make_unit(channels // 2, channels, 3, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the shape of ``x``."""
        out: Tensor = self.conv2(self.conv1(x)) + x
        return out


class DarkNet(Body):
    """The body; its maps C2..C5 have the strides 4 to 32.

    Args:
        blocks_per_stage: blocks in the stages of stride 2, 4, 8, 16 and 32.
        stem_channels: channels before the first stage; each stage doubles them.
        freeze_at: the first ``freeze_at`` of (stem, C2, C3, C4, C5) get no gradient; the stem has
            the stage of stride 2.
        norm: channels -> normalisation layer.
    """

    def __init__(
        self,
        *,
        blocks_per_stage: tuple[int, ...] = BLOCKS_PER_STAGE,
        stem_channels: int = _STEM_CHANNELS,
        freeze_at: int = 0,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        channels = [stem_channels * 2**stage for stage in range(len(blocks_per_stage) + 1)]
        stages = [
            nn.Sequential(
                _make_unit(in_channels, out_channels, 3, 2, norm),
                *(DarkNetBlock(channels=out_channels, norm=norm) for _ in range(num_blocks)),
            )
            for in_channels, out_channels, num_blocks in zip(
                channels[:-1], channels[1:], blocks_per_stage, strict=True
            )
        ]
        first = _make_unit(3, stem_channels, 3, 1, norm)
        self.stem = nn.Sequential(OrderedDict([("first", first), ("layer0", stages[0])]))
        self.stage_names = [f"layer{index}" for index in range(1, len(stages))]
        for name, stage in zip(self.stage_names, stages[1:], strict=True):
            self.add_module(name, stage)
        self.out_channels_per_stage = channels[2:]
        self.freeze_first(freeze_at, self.children())

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "DarkNet":
        """DarkNet-53 with the norms of MODEL.BATCH_NORM."""
        return cls(
            freeze_at=cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT,
            norm=BatchNormSettings.from_config(cfg),
        )
