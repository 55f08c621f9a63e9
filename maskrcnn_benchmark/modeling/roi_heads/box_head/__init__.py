"""The box head of the two-stage detectors: classes and better boxes for proposals."""

from maskrcnn_benchmark.modeling.roi_heads.box_head import (
    box_head,
    feature_extractors,
    predictors,
)

__all__ = ["box_head", "feature_extractors", "predictors"]
