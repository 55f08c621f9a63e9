import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.registry import BACKBONES


def make_config(body, **changes):
    cfg = get_default_config()
    cfg.MODEL.BACKBONE.CONV_BODY = body
    cfg.merge_from_list([item for pair in changes.items() for item in pair])
    return cfg


def on_meta(cfg, image_hw=(64, 96)):
    """A backbone without values, and the shapes of its maps of one image."""
    with torch.device("meta"):
        backbone = build_backbone(cfg)
        maps = backbone(torch.zeros(1, 3, *image_hw))
    return backbone, [tuple(m.shape[1:]) for m in maps]


def num_parameters(module):
    return sum(p.numel() for p in module.parameters())


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


def test_convolutions_of_the_pyramid_may_keep_their_bias():
    cfg = make_config("MNV2-FPN-RETINANET")
    cfg.MODEL.FPN.USE_GN = True
    cfg.MODEL.FPN.BIAS_BEFORE_NORM = True
    with torch.device("meta"):
        fpn = build_backbone(cfg).fpn
    assert fpn.fpn_inner4[0].bias is not None
    assert isinstance(fpn.fpn_inner4[1], torch.nn.GroupNorm)


def test_unknown_body_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"R-51.*known:.*MNV2-FPN-RETINANET"):
        build_backbone(make_config("R-51"))


@pytest.mark.parametrize("body", ["R-50-FPN", "MNV2-FPN"])
def test_pyramid_from_stride_4(body):
    cfg = make_config(body, **{"MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 64})
    backbone, shapes = on_meta(cfg)
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    assert shapes == [(64, *size) for size in sizes]
    assert backbone.out_channels == 64
    assert backbone.fpn.fpn_inner1.weight.shape[0] == 64
    assert not list(backbone.fpn.top_blocks.parameters())


def test_channels_of_vovnet_pyramids_have_a_key_of_their_own():
    cfg = make_config("V-19-slim-eSE-FPN-RETINANET", **{"MODEL.VOVNET.BACKBONE_OUT_CHANNELS": 96})
    backbone, shapes = on_meta(cfg)
    assert {shape[0] for shape in shapes} == {backbone.out_channels} == {96}
    assert backbone.fpn.top_blocks.p6.weight.shape == (96, 512, 3, 3)
    assert backbone.fpn.fpn_inner2.weight.shape == (96, 256, 1, 1)


@pytest.mark.parametrize("depth", ["R-50", "R-101", "R-152"])
@pytest.mark.parametrize(("stage", "expected"), [("C4", (1024, 4, 6)), ("C5", (2048, 2, 3))])
def test_one_map(depth, stage, expected):
    """upstream: own-channels"""
    backbone, shapes = on_meta(make_config(f"{depth}-{stage}"))
    assert shapes == [expected]
    assert backbone.out_channels == expected[0]
    assert {name.split(".")[0] for name in backbone.state_dict()} == {"body"}


def test_dilated_c5():
    """upstream: dilated-body"""
    cfg = make_config("R-50-C5", **{"MODEL.RESNETS.RES5_DILATION": 2})
    backbone, shapes = on_meta(cfg)
    assert shapes == [(2048, 4, 6)]
    assert backbone.levels == ((2048, 16),)


def test_a_pyramid_refuses_dilation():
    cfg = make_config("R-50-FPN", **{"MODEL.RESNETS.RES5_DILATION": 2})
    with pytest.raises(ConfigError, match=r"RES5_DILATION: .*got 2"):
        build_backbone(cfg)


@pytest.mark.parametrize(("ending", "first"), [("FPN", (16, 24)), ("FPN-RETINANET", (8, 12))])
def test_pyramids_of_hrnet(ending, first):
    cfg = make_config(f"HRNET-W18-{ending}", **{"MODEL.HRNET.FPN.OUT_CHANNEL": 32})
    backbone, shapes = on_meta(cfg)
    assert backbone.out_channels == 32
    assert shapes[0] == (32, *first)
    assert len(shapes) == 5


@pytest.mark.parametrize(
    ("key", "value"),
    [("HRNET.FPN.TYPE", "FPN"), ("FPN.USE_GN", True), ("FPN.USE_RELU", True)],
)
def test_hrnet_has_one_kind_of_pyramid(key, value):
    cfg = make_config("HRNET-W18-FPN", **{f"MODEL.{key}": value})
    with torch.device("meta"), pytest.raises(ConfigError, match=f"MODEL.{key}: expected"):
        build_backbone(cfg)


@pytest.mark.parametrize(
    ("resnets", "body", "millions"),
    [
        # Parameters of the classifiers (He et al.; Xie et al.; torchvision's tables) without the
        # 2048 x 1000 + 1000 of their last layer and the two a channel of their batch norms.
        ({}, "R-50-FPN", 25.557 - 2.049 - 0.053),
        ({}, "R-101-FPN", 44.549 - 2.049 - 0.105),
        ({}, "R-152-FPN", 60.193 - 2.049 - 0.151),
        ({"NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8}, "R-101-FPN", 88.791 - 2.049 - 0.203),
        ({"NUM_GROUPS": 64, "WIDTH_PER_GROUP": 4}, "R-101-FPN", 83.455 - 2.049 - 0.203),
    ],
)
def test_parameters_of_residual_bodies(resnets, body, millions):
    changes = {f"MODEL.RESNETS.{key}": value for key, value in resnets.items()}
    backbone, _ = on_meta(make_config(body, **changes))
    assert num_parameters(backbone.body) / 1e6 == pytest.approx(millions, abs=1.1e-3)


def entry(name):
    """An entry to test; of the HRNets, which have many parts, in every run the narrowest alone."""
    is_slow = name.startswith("HRNET") and not name.startswith("HRNET-W18")
    return pytest.param(name, marks=pytest.mark.slow if is_slow else ())


@pytest.mark.parametrize("name", [entry(name) for name in BACKBONES.names()])
def test_every_entry_builds_with_the_default_settings(name):
    """An entry is what it is registered as, whatever MODEL.BACKBONE.CONV_BODY says."""
    with torch.device("meta"):
        # In training a norm of one cell has nothing to learn from.
        backbone = BACKBONES[name](get_default_config()).eval()
        maps = backbone(torch.zeros(1, 3, 128, 128))
    assert {m.shape[1] for m in maps} == {backbone.out_channels}
    strides = [128 // m.shape[-1] for m in maps]
    expected = {"C4": [16], "C5": [32], "FPN": [4, 8, 16, 32, 64], "FBNet": [16]}
    expected["P2P7"] = [4, 8, 16, 32, 64, 128]
    assert strides == expected.get(name.rsplit("-")[-1], [8, 16, 32, 64, 128])
    assert backbone.levels == tuple((m.shape[1], s) for m, s in zip(maps, strides, strict=True))


@pytest.mark.parametrize("width", [18, 32, 40, 48])
def test_the_original_names_hrnets_without_the_pyramid(width):
    with torch.device("meta"):
        short, long = (
            build_backbone(make_config(f"HRNET-W{width}{ending}"))
            for ending in ("", "-FPN-RETINANET")
        )
    assert short.levels == long.levels
    assert short.levels[0].stride == 8
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (short, long)]
    assert shapes[0] == shapes[1]
