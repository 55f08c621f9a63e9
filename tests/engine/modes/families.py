"""Small models of every family of detectors, and how their detections are compared."""

import math
from typing import NamedTuple

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.engine.modes.fused_layers import WinogradConv2d
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.image_list import to_image_list
from tests.golden.deterministic_weights import deterministic_state_dict
from tests.modeling.detector.narrow import NARROW

_ONE_STAGE = {
    "MODEL.NUM_CLASSES": 4,
    "MODEL.VOVNET.BACKBONE_OUT_CHANNELS": 32,
    "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 32,
    "MODEL.ROI_MASK_HEAD.CONV_LAYERS": (16, 16),
    "MODEL.ROI_MASKIOU_HEAD.CONV_LAYERS": (16, 16),
    "MODEL.FCOS.INFERENCE_TH": 0.3,
    "MODEL.RETINANET.INFERENCE_TH": 0.05,
}
_SLIM = {"MODEL.BACKBONE.CONV_BODY": "V-19-slim-eSE-FPN-RETINANET"}
_GN = {
    "MODEL.RESNETS.STEM_FUNC": "StemWithGN",
    "MODEL.RESNETS.TRANS_FUNC": "BottleneckWithGN",
    "MODEL.RESNETS.WIDTH_PER_GROUP": 32,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 32,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 32,
    "MODEL.GROUP_NORM.NUM_GROUPS": 8,
}


IN_16_BITS = pytest.param(
    "bf16",
    marks=pytest.mark.skipif(
        not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 on this processor"
    ),
)


IN_INTEGERS = pytest.param(
    "int16",
    marks=pytest.mark.skipif(
        not WinogradConv2d.has_kernel(torch.device("cpu"), torch.int16),
        reason="no instructions for products of 16-bit integers on this processor",
    ),
)


class Case(NamedTuple):
    """A configuration and what makes it small."""

    config: str
    changes: dict = {}


CASES = {
    "CenterMask": Case("centermask/centermask_M_v2_FPN_1x", {"MODEL.MASKIOU_ON": True}),
    "CenterMask, ResNet": Case("centermask/centermask_R_50_FPN_1x"),
    "CenterMask-Lite, VoVNet": Case(
        "centermask/centermask_V_39_eSE_FPN_lite_res600_ms_bs16_4x", _SLIM
    ),
    "CenterMask, deformable": Case("centermask/centermask_V_39_eSE_dconv_FPN_1x", _SLIM),
    "CenterMask, depthwise": Case(
        "centermask/centermask_V_19_slim_dw_eSE_FPN_lite_res600_ms_bs16_4x"
    ),
    "CenterMask, shared tower": Case(
        "centermask/centermask_M_v2_FPN_1x",
        {"MODEL.FCOS.HEAD": "FCOSSharedHead", "MODEL.FCOS.RESIDUAL_CONNECTION": True},
    ),
    "FCOS": Case(
        "centermask/centermask_M_v2_FPN_1x",
        {"MODEL.MASK_ON": False, "MODEL.FCOS_MASK": False, "MODEL.MASKIOU_ON": False},
    ),
    "RetinaNet": Case("retinanet/retinanet_R-50-FPN_1x"),
    "RetinaMask": Case("retinamask/retinamask_R_50_FPN_ms_2x"),
    "Mask R-CNN": Case("e2e_mask_rcnn_R_50_FPN_1x"),
    "Mask R-CNN, C4": Case("e2e_mask_rcnn_R_50_C4_1x"),
    "Mask R-CNN, group norm": Case("gn_baselines/e2e_mask_rcnn_R_50_FPN_Xconv1fc_1x_gn", _GN),
    "keypoints": Case("e2e_keypoint_rcnn_R_50_FPN_1x", {"MODEL.NUM_CLASSES": 2}),
    "RPN": Case("rpn_R_50_FPN_1x"),
    "YOLACT": Case("yolact/yolact_resnet50_550", {"MODEL.DENSE.SETTINGS.NUM_PROTOTYPES": 8}),
    "TensorMask": Case(
        "tensormask/tensormask_R_50_FPN_1x",
        {
            "MODEL.DENSE.SETTINGS.CLS_CHANNELS": 16,
            "MODEL.DENSE.SETTINGS.BBOX_CHANNELS": 16,
            "MODEL.DENSE.SETTINGS.MASK_CHANNELS": 16,
            # Few: many of random weights are the whole image when clipped.
            "TEST.DETECTIONS_PER_IMG": 10,
        },
    ),
    "ShapeMask": Case(
        "shapemask/shapemask_R_50_FPN_640_2x",
        {"MODEL.DENSE.SETTINGS.MASK_CHANNELS": 16, "MODEL.DENSE.SETTINGS.NUM_PRIORS": 3},
    ),
    "FBNet": Case("e2e_mask_rcnn_fbnet"),
}


def make_model(case):
    """The model in evaluation mode, with weights whose scores and boxes are spread."""
    cfg = get_default_config()
    cfg.merge_from_file(f"configs/{CASES[case].config}.yaml")
    narrow = {key: value for key, value in NARROW.items() if "SCORE_THRESH" not in key}
    for key, value in (narrow | _ONE_STAGE | CASES[case].changes).items():
        cfg.merge_from_list([key, value])
    model = build_detection_model(cfg).eval()
    model.load_state_dict(deterministic_state_dict(model.state_dict()))
    return model


def make_images():
    """Two images of different sizes, of blobs."""
    generator = torch.Generator().manual_seed(3)
    blobs = torch.randn(2, 3, 8, 8, generator=generator) * 60
    images = torch.nn.functional.interpolate(blobs, size=(96, 128), mode="bicubic")
    return to_image_list([images[0], images[1, :, :80, :100]], 32)


def differences(found, expected):
    """Of every box the distance, px, to the nearest expected one of its label, inf without one."""
    distances = torch.cdist(found.bbox, expected.bbox, p=math.inf)
    if found.has_field("labels"):
        other = found.get_field("labels")[:, None] != expected.get_field("labels")
        distances[other] = math.inf
    return distances.min(dim=1)
