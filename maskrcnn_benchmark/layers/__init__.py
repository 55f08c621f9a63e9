"""Operators, losses and small modules without configuration; the importable names of the layers."""

from torch.nn import BatchNorm2d, Conv2d, ConvTranspose2d
from torch.nn.functional import interpolate

from maskrcnn_benchmark.layers._ops import ops_status
from maskrcnn_benchmark.layers._ops.library import BuildRecord, OpsStatus
from maskrcnn_benchmark.layers.attention import EffectiveSqueezeExcitation, SpatialAttention
from maskrcnn_benchmark.layers.batch_norm import (
    FrozenBatchNorm2d,
    NormSequential,
    StillBatchNorm2d,
    conv_norm,
)
from maskrcnn_benchmark.layers.conv3x3 import MinimalConv2d, conv3x3
from maskrcnn_benchmark.layers.conv_tower import (
    TowerConv,
    TowerWeight,
    conv_tower,
    pack_conv_tower,
)
from maskrcnn_benchmark.layers.deform_conv import deform_conv, modulated_deform_conv
from maskrcnn_benchmark.layers.deform_conv_modules import (
    DeformConv,
    DFConv2d,
    ModulatedDeformConv,
    ModulatedDeformConvPack,
)
from maskrcnn_benchmark.layers.deform_roi_pooling import (
    DeformRoIPooling,
    DeformRoIPoolingPack,
    ModulatedDeformRoIPoolingPack,
    deform_roi_pooling,
)
from maskrcnn_benchmark.layers.group_norm_relu import group_norm_relu
from maskrcnn_benchmark.layers.inverted_residual import (
    IntegerBlockWeights,
    InvertedResidualWeights,
    inverted_residual,
    inverted_residual_int16,
    pack_inverted_residual,
    pack_inverted_residual_int16,
)
from maskrcnn_benchmark.layers.iou_loss import IOULoss
from maskrcnn_benchmark.layers.nms import batched_nms, ml_nms, nms, nms_mask
from maskrcnn_benchmark.layers.paste_masks_rle import paste_masks_rle
from maskrcnn_benchmark.layers.patches import cell_conv, makes_patches, place_patches
from maskrcnn_benchmark.layers.pointwise import pack_pointwise_weight_int16, pointwise_conv_int16
from maskrcnn_benchmark.layers.polygons import PolygonGroups, polygon_areas, rasterize_polygons
from maskrcnn_benchmark.layers.precision import at_least_float32
from maskrcnn_benchmark.layers.process_mean import mean_over_processes
from maskrcnn_benchmark.layers.roi_align import ROIAlign, roi_align
from maskrcnn_benchmark.layers.roi_pool import ROIPool, roi_pool
from maskrcnn_benchmark.layers.scale import Scale
from maskrcnn_benchmark.layers.scores_above import ScoresAbove, scores_above
from maskrcnn_benchmark.layers.self_adjusting_smooth_l1_loss import SelfAdjustingSmoothL1Loss
from maskrcnn_benchmark.layers.sigmoid_focal_loss import SigmoidFocalLoss, sigmoid_focal_loss
from maskrcnn_benchmark.layers.smooth_l1_loss import smooth_l1_loss
from maskrcnn_benchmark.layers.swap_align2nat import SwapAlign2Nat, swap_align2nat
from maskrcnn_benchmark.layers.winograd import (
    Int16Weight,
    pack_winograd_weight,
    pack_winograd_weight_int16,
    winograd_conv3x3,
    winograd_conv3x3_int16,
)

__all__ = [
    "BatchNorm2d",
    "BuildRecord",
    "Conv2d",
    "ConvTranspose2d",
    "DFConv2d",
    "DeformConv",
    "DeformRoIPooling",
    "DeformRoIPoolingPack",
    "EffectiveSqueezeExcitation",
    "FrozenBatchNorm2d",
    "IOULoss",
    "Int16Weight",
    "IntegerBlockWeights",
    "InvertedResidualWeights",
    "MinimalConv2d",
    "ModulatedDeformConv",
    "ModulatedDeformConvPack",
    "ModulatedDeformRoIPoolingPack",
    "NormSequential",
    "OpsStatus",
    "PolygonGroups",
    "ROIAlign",
    "ROIPool",
    "Scale",
    "ScoresAbove",
    "SelfAdjustingSmoothL1Loss",
    "SigmoidFocalLoss",
    "SpatialAttention",
    "StillBatchNorm2d",
    "SwapAlign2Nat",
    "TowerConv",
    "TowerWeight",
    "at_least_float32",
    "batched_nms",
    "cell_conv",
    "conv3x3",
    "conv_norm",
    "conv_tower",
    "deform_conv",
    "deform_roi_pooling",
    "group_norm_relu",
    "interpolate",
    "inverted_residual",
    "inverted_residual_int16",
    "makes_patches",
    "mean_over_processes",
    "ml_nms",
    "modulated_deform_conv",
    "nms",
    "nms_mask",
    "ops_status",
    "pack_conv_tower",
    "pack_inverted_residual",
    "pack_inverted_residual_int16",
    "pack_pointwise_weight_int16",
    "pack_winograd_weight",
    "pack_winograd_weight_int16",
    "paste_masks_rle",
    "place_patches",
    "pointwise_conv_int16",
    "polygon_areas",
    "rasterize_polygons",
    "roi_align",
    "roi_pool",
    "scores_above",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "swap_align2nat",
    "winograd_conv3x3",
    "winograd_conv3x3_int16",
]
