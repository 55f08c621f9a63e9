"""The settings that repeat the strides of the backbone must agree with it."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.registry import BACKBONES

CENTERMASK = "centermask/centermask_M_v2_FPN_1x"
FASTER = "e2e_faster_rcnn_R_50_FPN_1x"
P2P6, P3P7 = r"\(4, 8, 16, 32, 64\)", r"\(8, 16, 32, 64, 128\)"


def build(file, *options):
    cfg = get_default_config()
    cfg.merge_from_file(f"configs/{file}.yaml")
    cfg.merge_from_list([*options])
    with torch.device("meta"):
        return build_detection_model(cfg)


@pytest.mark.parametrize(
    ("file", "key", "value", "expected"),
    [
        (CENTERMASK, "FCOS.FPN_STRIDES", (4, 8, 16, 32, 64), P3P7),
        (CENTERMASK, "ROI_MASK_HEAD.POOLER_SCALES", (0.25, 0.125), r"\(0.125, 0.0625, 0.03125,"),
        (FASTER, "RPN.ANCHOR_STRIDE", (8, 16, 32, 64, 128), P2P6),
        (FASTER, "ROI_BOX_HEAD.POOLER_SCALES", (0.25, 0.0625), r"\(0.25, 0.125, 0.0625,"),
        ("e2e_faster_rcnn_R_50_C4_1x", "RPN.ANCHOR_STRIDE", (32,), r"\(16,\)"),
        ("e2e_mask_rcnn_fbnet", "RPN.ANCHOR_STRIDE", (8,), r"\(16,\)"),
        (
            "retinanet/retinanet_R-50-FPN_1x",
            "RETINANET.ANCHOR_STRIDES",
            (4, 8, 16, 32, 64),
            P3P7,
        ),
    ],
)
def test_strides_that_differ_from_the_backbone_are_named(file, key, value, expected):
    with pytest.raises(ConfigError, match=rf"MODEL.{key}: expected {expected}.*, got"):
        build(file, f"MODEL.{key}", value)


def test_a_backbone_that_does_not_say_its_strides_is_believed(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))

    @BACKBONES.register("Silent")
    def build_silent(cfg):
        backbone = nn.Conv2d(3, 256, 3)
        backbone.out_channels = 256
        return backbone

    strides = (4, 8, 16, 32, 64)
    model = build(
        CENTERMASK, "MODEL.BACKBONE.CONV_BODY", "Silent", "MODEL.FCOS.FPN_STRIDES", strides
    )
    assert model.backbone.out_channels == 256
