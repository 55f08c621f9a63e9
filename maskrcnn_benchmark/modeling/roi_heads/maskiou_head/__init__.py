"""The mask-IoU head: predicts how good each mask is."""

from maskrcnn_benchmark.modeling.roi_heads.maskiou_head import (
    feature_extractors,
    maskiou_head,
    predictors,
)

__all__ = ["feature_extractors", "maskiou_head", "predictors"]
