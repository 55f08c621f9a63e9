"""Extractors and predictors that scripts wrote for the original, in the shape of those of here.

They stay what they are, with one method more or another one: names in checkpoints are the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.registry import accepts
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


def as_extractor(part: nn.Module) -> nn.Module:
    """The feature extractor with a method ``extract``, which an old one lacks."""
    return part if isinstance(part, ROIFeatureExtractor) else _put_over(part, _ExtractsAtOnce)


def as_mask_predictor(part: nn.Module) -> nn.Module:
    """The mask predictor with labels as its second argument, which an old one lacks."""
    return part if accepts(part.forward, 2) else _put_over(part, _PredictsAllClasses)


def _put_over(part: nn.Module, methods: type[nn.Module]) -> nn.Module:
    """The part itself, whose class now has the methods, too."""
    part.__class__ = type(type(part).__name__, (methods, type(part)), {})
    return part
