"""Feature extractors by name, or shared with the box head."""

from torch import nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.registry import PartRegistry


def make_extractor(
    cfg: CfgNode,
    section: str,
    registry: PartRegistry[nn.Module],
    in_channels: int,
    spec: ArchitectureSpec,
    box_extractor: nn.Module | None = None,
) -> nn.Module:
    """The feature extractor that a section names, or the box head's where the section shares it.

    Args:
        cfg: settings.
        section: below MODEL, such as "ROI_MASK_HEAD".
        registry: where the section's FEATURE_EXTRACTOR is looked up.
        in_channels: channels of the maps.
        spec: what the flags of ``cfg`` mean.
        box_extractor: the box head's extractor; None without one.

    Raises:
        ConfigError: the box head's features are to be shared, but are no maps.
    """
    settings = cfg.MODEL[section]
    if box_extractor is None or not settings.SHARE_BOX_FEATURE_EXTRACTOR:
        return registry.build(settings.FEATURE_EXTRACTOR, cfg, in_channels, spec)
    if not getattr(box_extractor, "gives_maps", True):
        raise ConfigError(
            f"MODEL.{section}.SHARE_BOX_FEATURE_EXTRACTOR is True, but the features of "
            f"MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR {cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR!r} "
            "are vectors, not maps; set it False"
        )
    return box_extractor
