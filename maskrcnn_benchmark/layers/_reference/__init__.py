"""Plain PyTorch twin of every operator: the oracle of the tests and the fallback on any device.

Signatures follow the operator schemas of ``layers/_ops/`` argument by argument.
"""

from maskrcnn_benchmark.layers._reference.deform_conv import deform_conv, deform_conv_backward
from maskrcnn_benchmark.layers._reference.nms import nms_keep
from maskrcnn_benchmark.layers._reference.paste_masks_rle import paste_masks_rle
from maskrcnn_benchmark.layers._reference.polygons import polygon_areas, rasterize_polygons
from maskrcnn_benchmark.layers._reference.roi_align import roi_align, roi_align_backward
from maskrcnn_benchmark.layers._reference.sigmoid_focal_loss import (
    sigmoid_focal_loss,
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_sum,
)
from maskrcnn_benchmark.layers.contrib._reference.deform_psroi_pooling import (
    deform_psroi_pooling,
    deform_psroi_pooling_backward,
)
from maskrcnn_benchmark.layers.contrib._reference.roi_pool import roi_pool, roi_pool_backward

__all__ = [
    "deform_conv",
    "deform_conv_backward",
    "deform_psroi_pooling",
    "deform_psroi_pooling_backward",
    "nms_keep",
    "paste_masks_rle",
    "polygon_areas",
    "rasterize_polygons",
    "roi_align",
    "roi_align_backward",
    "roi_pool",
    "roi_pool_backward",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_sum",
]
