"""Extractors and predictors by name, all in one shape.

Those that scripts wrote for the original stay what they are, with one method more or another one:
names in checkpoints are the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.registry import ROI_MASK_PREDICTOR, PartRegistry, accepts
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import (
    ROIFeatureExtractor,
    RoiFeatures,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList


class _ExtractsAtOnce(nn.Module):
    """Over an extractor that returns features, or features and the maps they come from."""

    def extract(self, features: Sequence[Tensor], boxes: list[BoxList]) -> RoiFeatures:
        """See ``ROIFeatureExtractor``; without maps the features stand for them, too."""
        extracted = self(features, boxes)
        encoded, pooled = extracted if isinstance(extracted, tuple) else (extracted, extracted)
        return RoiFeatures(encoded, pooled)


class _PredictsAllClasses(nn.Module):
    """Over a mask predictor that knows nothing of labels."""

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mask logits (R, M, M) of each roi's own class."""
        all_logits: Tensor = super().forward(features)
        return all_logits[torch.arange(len(labels), device=labels.device), labels]


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
        part = registry.build(settings.FEATURE_EXTRACTOR, cfg, in_channels, spec)
        return part if isinstance(part, ROIFeatureExtractor) else _put_over(part, _ExtractsAtOnce)
    if not getattr(box_extractor, "gives_maps", True):
        raise ConfigError(
            f"MODEL.{section}.SHARE_BOX_FEATURE_EXTRACTOR is True, but the features of "
            f"MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR {cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR!r} "
            "are vectors, not maps; set it False"
        )
    return box_extractor


def make_mask_predictor(cfg: CfgNode, in_channels: int, spec: ArchitectureSpec) -> nn.Module:
    """The predictor that MODEL.ROI_MASK_HEAD names, called with features and labels."""
    part = ROI_MASK_PREDICTOR.build(cfg.MODEL.ROI_MASK_HEAD.PREDICTOR, cfg, in_channels, spec)
    return part if accepts(part.forward, 2) else _put_over(part, _PredictsAllClasses)


def _put_over(part: nn.Module, methods: type[nn.Module]) -> nn.Module:
    """The part itself, whose class now has the methods, too."""
    part.__class__ = type(type(part).__name__, (methods, type(part)), {})
    return part
