from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.layers import DFConv2d, FrozenBatchNorm2d, ModulatedDeformConvPack
from maskrcnn_benchmark.modeling.backbone.deformable import DeformableSettings
from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetHead, ResNetSettings
from maskrcnn_benchmark.modeling.make_layers import BatchNormSettings

PARAMETERS = ("weight", "bias")


def make_tiny(**options):
    """A narrow network of one block a stage."""
    torch.manual_seed(0)
    options = {"blocks_per_stage": (1, 1, 1, 1), "stem_channels": 8, "res2_channels": 16} | options
    return ResNet(settings=ResNetSettings(width_per_group=4, **options))


def test_strides_and_channels():
    maps = make_tiny()(torch.randn(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, 16, 16, 24),
        (2, 32, 8, 12),
        (2, 64, 4, 6),
        (2, 128, 2, 3),
    ]


@pytest.mark.parametrize("freeze_at", range(6))
def test_frozen_stages(freeze_at):
    body = make_tiny(freeze_at=freeze_at)
    stages = ["stem", "layer1", "layer2", "layer3", "layer4"]
    for index, stage in enumerate(stages):
        trainable = any(p.requires_grad for p in body.get_submodule(stage).parameters())
        assert trainable == (index >= freeze_at)


@pytest.mark.parametrize("in_1x1", [True, False])
def test_place_of_the_stride(in_1x1):
    block = make_tiny(stride_in_1x1=in_1x1).layer2[0]
    strides = block.conv1.stride[0], block.conv2.stride[0]
    assert strides == ((2, 1) if in_1x1 else (1, 2))


def test_bottleneck_by_hand():
    block = make_tiny().layer1[0]
    x = torch.randn(1, 8, 5, 5)
    for module in block.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_()
    out = F.conv2d(x, block.conv1.weight) - block.bn1.running_mean[:, None, None]
    out = F.conv2d(out.relu(), block.conv2.weight, padding=1)
    out = (out - block.bn2.running_mean[:, None, None]).relu()
    out = F.conv2d(out, block.conv3.weight) - block.bn3.running_mean[:, None, None]
    shortcut = F.conv2d(x, block.downsample[0].weight)
    shortcut = shortcut - block.downsample[1].running_mean[:, None, None]
    torch.testing.assert_close(block(x), (out + shortcut).relu())


def test_groups_of_resnext():
    body = make_tiny(num_groups=2)
    assert body.layer1[0].conv2.groups == 2
    assert body.layer1[0].conv2.weight.shape == (8, 4, 3, 3)


def from_config(**resnets):
    cfg = get_default_config()
    for key, value in resnets.items():
        cfg.MODEL.RESNETS[key] = value
    return ResNet.from_config(cfg, (1, 1, 1, 1))


def test_group_normalised_variant_has_no_running_statistics():
    body = from_config(
        STEM_FUNC="StemWithGN",
        TRANS_FUNC="BottleneckWithGN",
        STEM_OUT_CHANNELS=32,
        RES2_OUT_CHANNELS=64,
        WIDTH_PER_GROUP=32,
    )
    assert not [name for name, _ in body.named_buffers()]
    assert body(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 512, 2, 2)


@pytest.mark.parametrize("key", ["STEM_FUNC", "TRANS_FUNC"])
def test_unknown_function_is_named(key):
    with pytest.raises(ConfigError, match=rf"RESNETS\.{key}.*FixedBatchNorm.*WithGN.*'Other'"):
        from_config(**{key: "Other"})


@pytest.mark.parametrize("freeze_at", [-1, 9])
def test_freezing_counts_no_further_than_there_are_stages(freeze_at):
    body = make_tiny(freeze_at=freeze_at)
    assert {p.requires_grad for p in body.parameters()} == {freeze_at < 0}


def test_frozen_stages_get_no_gradient_and_others_do():
    body = make_tiny(freeze_at=2)
    sum(m.square().sum() for m in body(torch.randn(1, 3, 32, 32))).backward()
    touched = {name.split(".")[0] for name, p in body.named_parameters() if p.grad is not None}
    assert touched == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize("in_1x1", [True, False])
def test_a_dilated_fifth_stage_keeps_the_stride_of_the_fourth(in_1x1):
    body = make_tiny(res5_dilation=2, stride_in_1x1=in_1x1, blocks_per_stage=(1, 1, 1, 2))
    c4, c5 = body(torch.randn(1, 3, 64, 64))[2:]
    assert c4.shape[-2:] == c5.shape[-2:] == (4, 4)
    assert [block.conv2.dilation for block in body.layer4] == [(2, 2), (2, 2)]
    assert body.layer3[0].conv2.dilation == (1, 1)
    first = body.layer4[0]
    x = torch.randn(1, 64, 5, 5)
    expected = F.relu(first.conv1(x))
    expected = F.relu(F.conv2d(expected, first.conv2.weight, padding=2, dilation=2))
    expected = F.relu(first.conv3(expected) + first.downsample[0](x))
    torch.testing.assert_close(first(x), expected)


def test_dilation_is_one_or_two():
    with pytest.raises(ConfigError, match=r"RES5_DILATION: .*got 3"):
        from_config(RES5_DILATION=3)


def test_head_equals_the_fifth_stage_of_the_body():
    body = make_tiny()
    head = ResNetHead(settings=ResNetSettings((1, 1, 1, 1), 8, 16, width_per_group=4))
    head.load_state_dict({k: v for k, v in body.state_dict().items() if k.startswith("layer4.")})
    c4, c5 = body(torch.randn(1, 3, 64, 64))[2:]
    torch.testing.assert_close(head(c4), c5)
    assert head.out_channels == c5.shape[1] == 128
    assert all(p.requires_grad for p in head.parameters())


def test_head_of_the_default_settings():
    with torch.device("meta"):
        head = ResNetHead.from_config(get_default_config())
        assert head(torch.zeros(3, 1024, 14, 14)).shape == (3, 2048, 7, 7)
    assert len(head.layer4) == 3
    assert isinstance(head.layer4[0].bn1, FrozenBatchNorm2d)


def test_dilated_group_normalised_head():
    cfg = get_default_config()
    cfg.MODEL.RESNETS.RES5_DILATION = 2
    cfg.MODEL.RESNETS.TRANS_FUNC = "BottleneckWithGN"
    with torch.device("meta"):
        head = ResNetHead.from_config(cfg)
        assert head(torch.zeros(3, 1024, 14, 14)).shape == (3, 2048, 14, 14)
    assert isinstance(head.layer4[2].bn3, torch.nn.GroupNorm)


def test_head_without_rois():
    head = ResNetHead(settings=ResNetSettings((1, 1, 1, 1), 8, 16, width_per_group=4))
    rois = torch.zeros(0, 64, 14, 14, requires_grad=True)
    out = head(rois)
    assert out.shape == (0, 128, 7, 7)
    out.sum().backward()
    assert rois.grad.shape == rois.shape


@pytest.mark.parametrize("in_1x1", [True, False])
def test_deformable_stages_without_offsets_are_plain_ones(in_1x1):
    """Stride, dilation and groups stay in their places."""
    options = {"stride_in_1x1": in_1x1, "res5_dilation": 2, "num_groups": 2}
    plain = make_tiny(**options)
    deformable = DeformableSettings((False, True, False, True), num_groups=2)
    body = make_tiny(deformable=deformable, **options)
    state = body.state_dict()
    offsets = {name for name in state if ".offset." in name}
    assert offsets == {f"layer{n}.0.conv2.offset.{part}" for n in (2, 4) for part in PARAMETERS}
    assert state["layer4.0.conv2.offset.weight"].shape == (2 * 2 * 9, 64, 3, 3)
    renamed = {name.replace(".conv2.conv.", ".conv2."): value for name, value in state.items()}
    plain.load_state_dict({name: renamed[name] for name in plain.state_dict()})
    for name in offsets:
        torch.nn.init.zeros_(state[name])
    x = torch.randn(1, 3, 64, 64)
    for ours, expected in zip(body(x), plain(x), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_deformable_stages_of_settings():
    cfg = get_default_config()
    cfg.MODEL.RESNETS.STAGE_WITH_DCN = (False, False, False, True)
    cfg.MODEL.RESNETS.WITH_MODULATED_DCN = True
    with torch.device("meta"):
        body = ResNet.from_config(cfg, (1, 1, 1, 1))
        head = ResNetHead.from_config(cfg)
    deformable = {name for name, m in body.named_modules() if isinstance(m, DFConv2d)}
    assert deformable == {"layer4.0.conv2"}
    assert body.layer4[0].conv2.offset.weight.shape == (27, 512, 3, 3)
    assert sum(isinstance(m, DFConv2d) for m in head.modules()) == 3


def test_deformable_stages_are_four():
    with pytest.raises(ConfigError, match=r"RESNETS\.STAGE_WITH_DCN: .*got"):
        from_config(STAGE_WITH_DCN=(True,))


def test_deformable_blocks_at_an_interval_with_bias_and_still_offsets():
    body = make_tiny(
        blocks_per_stage=(1, 4, 1, 1),
        deformable=DeformableSettings(
            (False, True, False, True), True, interval=3, layer="ModulatedDeformConvPack"
        ),
    )
    kinds = [type(block.conv2) is ModulatedDeformConvPack for block in body.layer2]
    assert kinds == [True, False, False, True]
    assert isinstance(body.layer4[0].conv2, ModulatedDeformConvPack)
    conv = body.layer2[3].conv2
    assert not conv.bias.any()
    assert not any(p.any() for p in conv.conv_offset_mask.parameters())
    # Offsets 0 and a modulation of 1/2: half the plain convolution.
    x = torch.randn(1, 8, 5, 5)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight / 2, padding=1))


@pytest.mark.parametrize(
    ("key", "value"),
    [("DCN_INTERVAL", 0), ("DCN_LAYER", "Conv"), ("DCN_LAYER", "ModulatedDeformConvPack")],
)
def test_deformable_layers_that_do_not_exist(key, value):
    cfg = get_default_config()
    cfg.MODEL.RESNETS[key] = value
    with pytest.raises(ConfigError, match="DCN"):
        DeformableSettings.from_config(cfg, "RESNETS")


def test_norms_are_trained_if_there_are_images_enough():
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.RESNETS.STEM_FUNC", "StemWithBatchNorm"])
    cfg.merge_from_list(["MODEL.RESNETS.TRANS_FUNC", "BottleneckWithBatchNorm"])
    cfg.merge_from_list(["MODEL.BATCH_NORM.MIN_IMAGES", 6, "MODEL.BATCH_NORM.EPSILON", 1e-3])
    cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT = 0
    for num_images in (6, 5):
        cfg.SOLVER.IMS_PER_BATCH = num_images
        norm = ResNet.from_config(cfg, (1,)).train().layer1[0].bn1
        assert isinstance(norm, torch.nn.BatchNorm2d)
        assert norm.eps == 1e-3
        assert norm.training == norm.weight.requires_grad == (num_images == 6)
        before = norm.running_mean.clone()
        norm(torch.randn(2, 64, 3, 3) + 1)
        assert torch.equal(norm.running_mean, before) == (num_images == 5)


def test_norms_of_frozen_parts_may_learn():
    settings = ResNetSettings(
        blocks_per_stage=(1, 1), stem_channels=4, res2_channels=8, width_per_group=4, freeze_at=2
    )
    norm = BatchNormSettings()
    frozen, learning = (
        ResNet(settings=each, stem_norm=norm, block_norm=norm)
        for each in (settings, replace(settings, trains_frozen_norms=True))
    )
    assert not any(p.requires_grad for p in frozen.layer1.parameters())
    for part in (learning.stem, learning.layer1):
        for module in part.modules():
            is_norm = isinstance(module, torch.nn.BatchNorm2d)
            for parameter in module.parameters(recurse=False):
                assert parameter.requires_grad == is_norm
    assert all(p.requires_grad for p in learning.layer2.parameters())


def test_the_stem_may_pad_at_the_end():
    settings = ResNetSettings(blocks_per_stage=(1,), stem_channels=2, res2_channels=8)
    stem = ResNet(settings=replace(settings, pads_stem_at_the_end=True)).stem
    images = torch.randn(1, 3, 16, 16)
    before = torch.relu(stem.bn1(stem.conv1(images)))
    expected = before.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    assert stem(images).shape == expected.shape
    # Windows of three cells hold those of two that start with them.
    assert (stem(images) >= expected).all()
    assert torch.equal(stem(images)[..., -1, -1], expected[..., -1, -1])
