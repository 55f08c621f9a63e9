"""Deformable stages of bodies (Dai et al., arXiv 1703.06211; Zhu et al., arXiv 1811.11168)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import DFConv2d, ModulatedDeformConvPack

DEFAULT_LAYER: Final = "DFConv2d"
PACK: Final = "ModulatedDeformConvPack"


@dataclass(frozen=True, slots=True)
class DeformableSettings:
    """Where the 3x3 layers of a body are deformable convolutions, and of what kind.

    Args:
        stages: for each of C2, C3, C4, C5, whether its 3x3 layers are deformable.
        is_modulated: version 2, which also weighs its samples.
        num_groups: groups of channels that share one set of offsets.
        interval: of a stage's blocks the first and then every ``interval``-th is deformable, >= 1.
        layer: ``DFConv2d``, without bias and with offsets from the start, or
            ``ModulatedDeformConvPack``, version 2 with a bias, whose offsets start at 0.
    """

    stages: tuple[bool, ...] = (False, False, False, False)
    is_modulated: bool = False
    num_groups: int = 1
    interval: int = 1
    layer: str = DEFAULT_LAYER

    @classmethod
    def from_config(cls, cfg: CfgNode, family: str) -> "DeformableSettings":
        """Settings read from the section ``family`` of MODEL.

        A section without DCN_INTERVAL and DCN_LAYER has their defaults.

        Raises:
            ConfigError: if STAGE_WITH_DCN is not one flag a stage, DCN_INTERVAL below 1, DCN_LAYER
                another layer, or one of version 2 without WITH_MODULATED_DCN.
        """
        section = cfg.MODEL[family]
        stages = tuple(section.STAGE_WITH_DCN)
        if len(stages) != len(cls().stages):
            raise ConfigError(f"MODEL.{family}.STAGE_WITH_DCN: expected four flags, got {stages}")
        interval, layer = section.get("DCN_INTERVAL", 1), section.get("DCN_LAYER", DEFAULT_LAYER)
        if interval < 1:
            raise ConfigError(f"MODEL.{family}.DCN_INTERVAL: expected at least 1, got {interval}")
        if layer not in (DEFAULT_LAYER, PACK):
            raise ConfigError(
                f"MODEL.{family}.DCN_LAYER: expected {DEFAULT_LAYER!r} or {PACK!r}, got {layer!r}"
            )
        if layer == PACK and not section.WITH_MODULATED_DCN:
            raise ConfigError(
                f"MODEL.{family}.WITH_MODULATED_DCN: expected True with DCN_LAYER {PACK!r}, "
                "got False"
            )
        return cls(stages, section.WITH_MODULATED_DCN, section.DEFORMABLE_GROUPS, interval, layer)

    def is_at(self, stage: int, block: int) -> bool:
        """Whether a block of a stage, both counted from 0, has a deformable 3x3 layer."""
        return self.stages[stage] and block % self.interval == 0

    def make_conv(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        """A layer of this kind: 3x3, same-padded."""
        make: Callable[..., nn.Module] = partial(DFConv2d, with_modulated_dcn=self.is_modulated)
        if self.layer == PACK:
            make = partial(ModulatedDeformConvPack, kernel_size=3, padding=dilation)
        return make(
            in_channels,
            out_channels,
            stride=stride,
            dilation=dilation,
            groups=groups,
            deformable_groups=self.num_groups,
        )


# Plain convolutions everywhere.
NOT_DEFORMABLE = DeformableSettings()
