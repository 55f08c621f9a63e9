"""FBNet backbones and the parts of their architectures."""

import json

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.fbnet.architectures import (
    ARCHITECTURES,
    parse_architecture,
)
from maskrcnn_benchmark.modeling.fbnet.backbone import FBNetFactory

DEFINITION = {
    "block_op_type": [["ir_k3"], ["ir_k5", "skip"], ["ir_k3"]],
    "block_cfg": {
        "first": [16, 2],
        "stages": [[[1, 8, 1, 1]], [[6, 24, 2, 2]], [[2, 32, 1, 1]]],
        "last": [64, 0.0],
        "bbox": [2],
        "rpn": [1],
    },
}


def fbnet_config(**settings):
    cfg = get_default_config()
    words = [f"MODEL.FBNET.{key}" for key in settings]
    pairs = zip(words, settings.values(), strict=True)
    cfg.merge_from_list(
        ["MODEL.BACKBONE.CONV_BODY", "FBNet", *(word for pair in pairs for word in pair)]
    )
    return cfg


@pytest.mark.parametrize(
    ("arch", "channels", "num_blocks"),
    [
        ("default", 96, 13),
        ("xirb16d_dsmask", 128, 13),
        ("mobilenet_v2", 96, 13),
        ("cham_v1a", 88, 20),
        ("cham_v2", 56, 20),
    ],
)
def test_backbones_give_one_map_of_stride_16(arch, channels, num_blocks):
    backbone = build_backbone(fbnet_config(ARCH=arch, WIDTH_DIVISOR=8)).eval()
    assert backbone.out_channels == channels
    assert len(backbone.body.stages) == num_blocks
    (feature,) = backbone(torch.rand(1, 3, 64, 96))
    assert feature.shape == (1, channels, 4, 6)


def test_checkpoint_names():
    keys = build_backbone(fbnet_config()).state_dict().keys()
    assert {"body.first.conv.weight", "body.first.bn.running_var"} <= keys
    assert "body.stages.xif3_6.pwl.conv.weight" in keys
    assert "body.stages.xif0_0.dw.bn.weight" not in keys  # DW_CONV_SKIP_BN


def test_all_widths_scale_together():
    backbone = build_backbone(fbnet_config(SCALE_FACTOR=0.5, WIDTH_DIVISOR=8))
    assert backbone.out_channels == 48
    assert backbone.body.first.conv.out_channels == 16
    assert backbone.body.stages.xif1_0.pwl.conv.out_channels == 16  # 12 goes up to 16


@pytest.mark.parametrize(
    ("name", "kind"),
    [("bn", nn.BatchNorm2d), ("af", FrozenBatchNorm2d), ("gn", nn.GroupNorm)],
)
def test_normalisation_is_a_choice(name, kind):
    backbone = build_backbone(fbnet_config(BN_TYPE=name, ARCH="default", WIDTH_DIVISOR=32))
    assert isinstance(backbone.body.first.bn, kind)


def test_without_normalisation():
    backbone = build_backbone(fbnet_config(BN_TYPE=""))
    assert list(dict(backbone.body.first.named_children())) == ["conv", "relu"]


def test_an_architecture_of_ones_own():
    cfg = fbnet_config(ARCH="mine", ARCH_DEF=json.dumps(DEFINITION))
    backbone = build_backbone(cfg).eval()
    (feature,) = backbone(torch.rand(1, 3, 32, 32))
    assert feature.shape == (1, 24, 8, 8)
    assert set(dict(backbone.body.stages.named_children())) == {"xif0_0", "xif1_0", "xif1_1"}


def test_built_in_architectures_are_what_their_definitions_say():
    groups = [[[1, 16, 1, 1]], [[6, 24, 2, 2]], [[6, 32, 3, 2]]]
    groups += [[[6, 64, 4, 2], [6, 96, 3, 1]], [[6, 160, 3, 1], [6, 320, 1, 1]]]
    definition = {
        "block_op_type": [["ir_k3"] * count for count in (1, 2, 3, 7, 4)],
        "block_cfg": {"first": [32, 2], "stages": groups, "last": [0, 0.0],
                      "backbone": [0, 1, 2, 3], "bbox": [4]},
    }  # fmt: skip
    assert parse_architecture(json.dumps(definition)) == ARCHITECTURES["mobilenet_v2"]


def test_some_blocks_of_a_part_can_be_chosen():
    architecture = ARCHITECTURES["default"]
    assert list(architecture.blocks_of("bbox", [0, 3])) == ["xif4_0", "xif4_3"]
    with pytest.raises(ConfigError, match=r"MODEL\.FBNET"):
        architecture.blocks_of("bbox", [9])


def test_all_stages_stand_for_a_part_that_is_not_named():
    """upstream: part-without-stages."""
    architecture = ARCHITECTURES["mobilenet_v2"]
    blocks = architecture.blocks_of("rpn")
    assert len(blocks) == sum(map(len, architecture.stages)) == 17
    assert list(architecture.blocks_of("mask", [3])) == ["xif3_3", "xif4_3"]


@pytest.mark.parametrize(
    ("scale", "channels"), [(1.0, 64), (0.5, 32), (-1.0, 24), (-0.5, 12), (0.0, 24)]
)
def test_the_last_convolution_scales_with_the_architecture_or_the_blocks(scale, channels):
    cfg = fbnet_config(ARCH="mine", ARCH_DEF=json.dumps(DEFINITION))
    last = FBNetFactory.from_config(cfg).last(24, scale)
    assert last.out_channels == channels
    assert (len(last.module) == 0) is (scale == 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ARCH": "vgg"}, r"MODEL\.FBNET\.ARCH\b.*'vgg'.*default"),
        ({"ARCH_DEF": "{"}, r"MODEL\.FBNET\.ARCH_DEF: "),
        ({"ARCH_DEF": json.dumps(DEFINITION)}, r"MODEL\.FBNET\.ARCH_DEF: .*'default'"),
        ({"BN_TYPE": "batch"}, r"MODEL\.FBNET\.BN_TYPE: "),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(fbnet_config(**settings))


def test_unknown_blocks_are_named():
    definition = {**DEFINITION, "block_op_type": [["ir_k3"], ["ir_k5", "warp"], ["ir_k3"]]}
    with pytest.raises(ConfigError, match=r"'warp'.*skip"):
        build_backbone(fbnet_config(ARCH="mine", ARCH_DEF=json.dumps(definition)))


def test_the_stride_of_the_anchors_must_fit():
    definition = json.dumps({**DEFINITION, "rpn_stride": 4})
    cfg = fbnet_config(ARCH="mine", ARCH_DEF=definition)
    with pytest.raises(ConfigError, match=r"MODEL\.RPN\.ANCHOR_STRIDE: .*\(4,\)"):
        build_backbone(cfg)
