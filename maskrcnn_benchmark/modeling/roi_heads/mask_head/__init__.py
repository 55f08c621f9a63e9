"""The mask head: plain (Mask R-CNN) or guided by spatial attention (CenterMask's SAG-Mask)."""

from maskrcnn_benchmark.modeling.roi_heads.mask_head import (
    feature_extractors,
    mask_head,
    predictors,
)

__all__ = ["feature_extractors", "mask_head", "predictors"]
