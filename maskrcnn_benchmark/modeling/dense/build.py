"""Dense detectors by configuration."""

from collections.abc import Sequence

from torch import nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.families import FAMILIES
from maskrcnn_benchmark.modeling.fbnet import rpn_head as _fbnet  # noqa: F401  # registers its head
from maskrcnn_benchmark.modeling.strides import Level


def build_rpn(
    cfg: CfgNode,
    in_channels: int,
    spec: ArchitectureSpec | None = None,
    levels: Sequence[Level] | None = None,
) -> nn.Module:
    """The proposal stage of the architecture, called with (images, features, targets=None).

    Args:
        cfg: settings.
        in_channels: channels of the maps.
        spec: what the flags of ``cfg`` mean; None reads them.
        levels: channels and strides of the maps; None if the backbone does not say.

    Raises:
        ConfigError: for settings that do not fit one another or the maps.
    """
    spec = spec or ArchitectureSpec.from_config(cfg)
    stage: nn.Module = FAMILIES[spec.proposal].build(cfg, in_channels, spec, levels)
    return stage
