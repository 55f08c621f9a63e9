"""Deformable stages of bodies (Dai et al., arXiv 1703.06211; Zhu et al., arXiv 1811.11168)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import DFConv2d


@dataclass(frozen=True, slots=True)
class DeformableSettings:
    """Where the 3x3 layers of a body are deformable convolutions, and of what kind.

    Args:
        stages: for each of C2, C3, C4, C5, whether its 3x3 layers are deformable.
        is_modulated: version 2, which also weighs its samples.
        num_groups: groups of channels that share one set of offsets.
    """

    stages: tuple[bool, ...] = (False, False, False, False)
    is_modulated: bool = False
    num_groups: int = 1

    @classmethod
    def from_config(cls, cfg: CfgNode, family: str) -> "DeformableSettings":
        """Settings read from the section ``family`` of MODEL.

        Raises:
            ConfigError: if STAGE_WITH_DCN is not one flag a stage.
        """
        section = cfg.MODEL[family]
        stages = tuple(section.STAGE_WITH_DCN)
        if len(stages) != len(cls().stages):
            raise ConfigError(f"MODEL.{family}.STAGE_WITH_DCN: expected four flags, got {stages}")
        return cls(stages, section.WITH_MODULATED_DCN, section.DEFORMABLE_GROUPS)

    @property
    def make_conv(self) -> Callable[..., DFConv2d]:
        """``DFConv2d`` of this kind: 3x3, same-padded, without bias."""
        return partial(
            DFConv2d, with_modulated_dcn=self.is_modulated, deformable_groups=self.num_groups
        )


# Plain convolutions everywhere.
NOT_DEFORMABLE = DeformableSettings()
