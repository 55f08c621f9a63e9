"""The proposal head of FBNet models."""

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.dense import build as rpn  # noqa: F401  # enters the heads
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.registry import RPN_HEADS


def build(in_channels=8, num_anchors=3, **settings):
    cfg = get_default_config()
    for key, value in settings.items():
        cfg.merge_from_list([f"MODEL.FBNET.{key}", value])
    return RPN_HEADS["FBNet.rpn_head"](cfg, in_channels, num_anchors)


def test_predictions_of_every_level_and_checkpoint_names():
    head = build()
    outputs = head([torch.rand(2, 8, 6, 5), torch.rand(2, 8, 3, 3)])
    assert isinstance(outputs, RPNOutputs)
    assert [tuple(each.shape) for each in outputs.logits] == [(2, 3, 6, 5), (2, 3, 3, 3)]
    assert outputs.deltas[1].shape == (2, 12, 3, 3)
    keys = head.state_dict().keys()
    assert {"0.head.xif5_0.pw.conv.weight", "1.cls_logits.weight", "1.bbox_pred.bias"} <= keys


def test_the_last_blocks_can_be_chosen():
    head = build(RPN_HEAD_BLOCKS=2)
    assert list(dict(head[0].head.named_children())) == ["xif5_1", "xif5_2"]
    with pytest.raises(ConfigError, match=r"RPN_HEAD_BLOCKS: .*got 4"):
        build(RPN_HEAD_BLOCKS=4)


def test_its_normalisation_can_differ():
    assert "0.head.xif5_0.pw.bn.running_mean" in build(BN_TYPE="bn").state_dict()
    assert (
        "0.head.xif5_0.pw.bn.running_mean"
        not in build(BN_TYPE="bn", RPN_BN_TYPE="gn", WIDTH_DIVISOR=32).state_dict()
    )


def test_as_many_anchors_as_the_configuration_describes():
    cfg = get_default_config()
    head = RPN_HEADS["FBNet.rpn_head"](cfg, 8)
    sizes, ratios = cfg.MODEL.RPN.ANCHOR_SIZES, cfg.MODEL.RPN.ASPECT_RATIOS
    assert head[1].cls_logits.out_channels == len(sizes) * len(ratios)
