import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, NotYetAvailableError, get_default_config
from maskrcnn_benchmark.modeling.backbone import build_backbone


def make_config(body, **changes):
    cfg = get_default_config()
    cfg.MODEL.BACKBONE.CONV_BODY = body
    cfg.merge_from_list([item for pair in changes.items() for item in pair])
    return cfg


@pytest.mark.parametrize("body", ["R-50-FPN-RETINANET", "MNV2-FPN-RETINANET"])
def test_five_maps_of_equal_channels(body):
    cfg = make_config(body, **{"MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 64})
    cfg.MODEL.RETINANET.USE_C5 = False
    backbone = build_backbone(cfg)
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert backbone.out_channels == 64
    sizes = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    assert [tuple(m.shape) for m in maps] == [(1, 64, *size) for size in sizes]


def test_group_norm_and_relu_of_the_pyramid():
    cfg = make_config("MNV2-FPN-RETINANET")
    cfg.MODEL.FPN.USE_GN = True
    cfg.MODEL.FPN.USE_RELU = True
    with torch.device("meta"):
        fpn = build_backbone(cfg).fpn
    kinds = [type(layer).__name__ for layer in fpn.fpn_layer3]
    assert kinds == ["Conv2d", "GroupNorm", "ReLU"]
    assert fpn.fpn_layer3[0].bias is None


def test_unknown_body_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"R-51.*known:.*MNV2-FPN-RETINANET"):
        build_backbone(make_config("R-51"))


def test_body_that_is_not_there_yet():
    with pytest.raises(NotYetAvailableError, match="VoVNetV2"):
        build_backbone(make_config("V-39-eSE-FPN-RETINANET"))
