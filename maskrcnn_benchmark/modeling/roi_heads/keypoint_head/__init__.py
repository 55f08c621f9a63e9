"""The keypoint head of Mask R-CNN: one heat map a point."""

from maskrcnn_benchmark.modeling.roi_heads.keypoint_head import (
    feature_extractors,
    keypoint_head,
    predictors,
)

__all__ = ["feature_extractors", "keypoint_head", "predictors"]
