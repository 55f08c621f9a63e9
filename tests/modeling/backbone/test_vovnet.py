from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.layers import DFConv2d, FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.backbone.deformable import DeformableSettings
from maskrcnn_benchmark.modeling.backbone.vovnet import (
    VOVNETS,
    HalvingMaxPool,
    OSABlock,
    VoVNet,
    VoVNetSpec,
)

TINY = VoVNetSpec(2, (1, 1, 2, 1), (4, 4, 8), (8, 8, 8, 8), (8, 16, 16, 24))


def make_tiny(**changes):
    torch.manual_seed(0)
    freeze_at = changes.pop("freeze_at", 0)
    settings = {field: getattr(TINY, field) for field in TINY.__dataclass_fields__}
    return VoVNet(spec=VoVNetSpec(**settings | changes), freeze_at=freeze_at)


def num_parameters(body):
    """Learnable values as papers count them: two a channel of each batch norm."""
    norms = [m for m in body.modules() if isinstance(m, FrozenBatchNorm2d)]
    values = sum(p.numel() for p in body.parameters())
    return values + sum(norm.weight.numel() + norm.bias.numel() for norm in norms)


@pytest.mark.parametrize("is_depthwise", [False, True])
def test_strides_and_channels(is_depthwise):
    body = make_tiny(is_depthwise=is_depthwise)
    maps = body(torch.randn(2, 3, 64, 96))
    assert [m.shape[1] for m in maps] == list(body.out_channels_per_stage) == [8, 16, 16, 24]
    assert [tuple(m.shape[-2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_pooling_windows_begin_at_even_cells_and_may_end_outside():
    x = torch.arange(1.0, 9.0).view(1, 1, 1, 8)
    assert HalvingMaxPool()(x).flatten().tolist() == [3, 5, 7, 8]
    assert HalvingMaxPool()(x[..., :7]).flatten().tolist() == [3, 5, 7]
    assert HalvingMaxPool()(x.view(1, 1, 8, 1)).flatten().tolist() == [3, 5, 7, 8]
    assert HalvingMaxPool()(x.view(1, 1, 2, 4)).tolist() == [[[[7, 8]]]]


def test_pooling_a_single_cell_keeps_it_and_its_gradient():
    x = torch.tensor([[[[2.0]]]], requires_grad=True)
    out = HalvingMaxPool()(x)
    out.backward()
    assert out.tolist() == [[[[2.0]]]]
    assert x.grad.tolist() == [[[[1.0]]]]


@pytest.mark.parametrize(
    ("image_hw", "sizes"),
    [((61, 33), [(16, 9), (8, 4), (4, 2), (2, 1)]), ((1, 5), [(1, 2), (1, 1), (1, 1), (1, 1)])],
)
def test_sizes_of_odd_and_tiny_images(image_hw, sizes):
    maps = make_tiny()(torch.randn(1, 3, *image_hw))
    assert [tuple(m.shape[-2:]) for m in maps] == sizes


def test_no_images():
    maps = make_tiny()(torch.zeros(0, 3, 32, 32))
    assert [m.shape[0] for m in maps] == [0] * 4


@pytest.mark.parametrize("has_identity", [False, True])
def test_block_by_hand(has_identity):
    torch.manual_seed(0)
    stage = make_tiny().stage4
    block = stage.OSA4_2 if has_identity else stage.OSA4_1
    assert isinstance(block, OSABlock)
    x = torch.randn(1, 16, 5, 5)
    first = torch.relu(nn.functional.conv2d(x, block.layers[0][0].weight, padding=1))
    second = torch.relu(nn.functional.conv2d(first, block.layers[1][0].weight, padding=1))
    joined = torch.cat([x, first, second], dim=1)
    out = torch.relu(nn.functional.conv2d(joined, block.concat[0].weight))
    mean = out.mean(dim=(2, 3), keepdim=True)
    gate = nn.functional.conv2d(mean, block.ese.fc.weight, block.ese.fc.bias)
    expected = out * (gate + 3).clamp(0, 6) / 6
    torch.testing.assert_close(block(x), expected + x if has_identity else expected)


def test_the_first_block_of_a_stage_has_no_identity():
    stage = make_tiny(blocks_per_stage=(2, 1, 3, 1), out_channels=(8, 16, 16, 24)).stage4
    assert [stage[i].has_identity for i in range(1, 4)] == [False, True, True]


def test_names_of_a_depthwise_block_and_stem():
    """The names in the files of the author's later programs."""
    body = VoVNet(spec=VOVNETS["V-19-slim-dw-eSE"])
    names = {name.rsplit(".", 1)[0] for name, _ in body.stem.named_parameters()}
    pairs = {f"stem_{i}/{part}" for i in (2, 3) for part in ("dw_conv3x3", "pw_conv1x1")}
    assert names == {"stem_1/conv"} | pairs
    assert "stem_2/pw_norm.running_var" in body.stem.state_dict()
    block = body.stage3.OSA3_1
    shapes = {name: tuple(value.shape) for name, value in block.named_parameters()}
    assert shapes["conv_reduction.OSA3_1_reduction_0/conv.weight"] == (80, 112, 1, 1)
    assert shapes["layers.0.OSA3_1_0/dw_conv3x3.weight"] == (80, 1, 3, 3)
    assert shapes["layers.2.OSA3_1_2/pw_conv1x1.weight"] == (80, 80, 1, 1)
    assert shapes["concat.OSA3_1_concat/conv.weight"] == (256, 112 + 3 * 80, 1, 1)
    # C2's input has as many channels as its layers.
    assert body.stage2.OSA2_1.conv_reduction is None


# timm's counts, in millions: with a classifier of 1000 classes, and with an eSE in the last block
# of a stage only. (Its author's, of the slim ones, are the same less their last digit: 1.8, 3.1.)
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("V-19-slim-dw-eSE", 1.90),
        ("V-19-slim-eSE", 3.17),
        ("V-19-dw-eSE", 6.54),
        ("V-39-eSE", 24.57),
        ("V-57-eSE", 38.61),
        ("V-99-eSE", 63.20),
    ],
)
def test_number_of_parameters(name, millions):
    with torch.device("meta"):
        body = VoVNet(spec=VOVNETS[name])
        total = num_parameters(body) + num_parameters(
            nn.Linear(VOVNETS[name].out_channels[-1], 1000)
        )
    for stage in body.stage_names:
        *others, _last = body.get_submodule(stage)
        total -= sum(num_parameters(block.ese) for block in others if isinstance(block, OSABlock))
    assert total / 1e6 == pytest.approx(millions, abs=5.1e-3)


def randomize_norms(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.8, 1.2)


def weights_of_timm(reference, ours):
    """Weights of timm's network under our names; both list their tensors in the same order.

    There only the last block of a stage has an eSE; gates of the others are held open here.
    """
    source = iter(
        value
        for name, value in reference.state_dict().items()
        if name.startswith(("stem.", "stages.")) and not name.endswith("num_batches_tracked")
    )
    last_blocks = {
        f"OSA{stage + 2}_{len(blocks.blocks)}" for stage, blocks in enumerate(reference.stages)
    }
    state = {}
    for name, value in ours.state_dict().items():
        if ".ese." in name and name.split(".")[1] not in last_blocks:
            state[name] = torch.full_like(value, 3.0 if name.endswith("bias") else 0.0)
            continue
        weights = next(source)
        assert weights.shape == value.shape, name
        # Our frozen norm has no epsilon.
        state[name] = weights + 1e-5 if name.endswith("running_var") else weights
    assert next(source, None) is None
    return state


@pytest.mark.parametrize(
    ("theirs", "name"),
    [
        ("ese_vovnet19b_slim_dw", "V-19-slim-dw-eSE"),
        ("ese_vovnet19b_slim", "V-19-slim-eSE"),
        ("ese_vovnet19b_dw", "V-19-dw-eSE"),
        ("ese_vovnet39b", "V-39-eSE"),
        pytest.param("ese_vovnet57b", "V-57-eSE", marks=pytest.mark.slow),
        pytest.param("ese_vovnet99b", "V-99-eSE", marks=pytest.mark.slow),
    ],
)
def test_equals_the_network_of_timm_with_the_same_weights(theirs, name):
    torch.manual_seed(0)
    reference = timm.create_model(theirs, num_classes=0).eval()
    randomize_norms(reference)
    body = VoVNet(spec=VOVNETS[name])
    body.load_state_dict(weights_of_timm(reference, body))
    x = torch.randn(1, 3, 72, 64)
    with torch.no_grad():
        maps = body(x)
        expected = reference.stem(x)
        for stage, ours in zip(reference.stages, maps, strict=True):
            expected = stage(expected)
            scale = expected.abs().max()
            torch.testing.assert_close(ours / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("freeze_at", range(6))
def test_frozen_stages_get_no_gradient(freeze_at):
    body = make_tiny(freeze_at=freeze_at)
    maps = body(torch.randn(1, 3, 32, 32))
    if freeze_at < 5:
        sum(m.square().sum() for m in maps).backward()
    for index, part in enumerate(["stem", "stage2", "stage3", "stage4", "stage5"]):
        gradients = [p.grad for p in body.get_submodule(part).parameters()]
        assert all((g is None) == (index < freeze_at) for g in gradients)


def test_group_norm_replaces_every_frozen_norm():
    cfg = vovnet_config(USE_GN=True)
    cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT = 1
    with torch.device("meta"):
        body = VoVNet.from_config(cfg, "V-39-eSE")
        plain = VoVNet(spec=VOVNETS["V-39-eSE"])
    assert not [name for name, _ in body.named_buffers()]
    norms = {k for k in plain.state_dict() if "/norm.weight" in k or "/norm.bias" in k}
    assert norms <= {name for name, _ in body.named_parameters()}
    trained = {name.split(".")[0] for name, p in body.named_parameters() if p.requires_grad}
    assert trained == {"stage2", "stage3", "stage4", "stage5"}


def test_memory_format_changes_nothing_but_rounding():
    body = make_tiny(is_depthwise=True)
    x = torch.randn(1, 3, 64, 64)
    expected = body(x)
    maps = body.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-4)


def vovnet_config(**settings):
    cfg = get_default_config()
    for key, value in settings.items():
        cfg.MODEL.VOVNET[key] = value
    return cfg


@pytest.mark.parametrize(("is_modulated", "maps_per_tap"), [(False, 2), (True, 3)])
def test_deformable_stages(is_modulated, maps_per_tap):
    cfg = vovnet_config(
        STAGE_WITH_DCN=(False, False, False, True),
        WITH_MODULATED_DCN=is_modulated,
        DEFORMABLE_GROUPS=2,
    )
    with torch.device("meta"):
        body = VoVNet.from_config(cfg, "V-19-eSE")
    deformable = [name for name, m in body.named_modules() if isinstance(m, DFConv2d)]
    assert deformable == [f"stage5.OSA5_1.layers.{i}.OSA5_1_{i}/conv" for i in range(3)]
    state = body.state_dict()
    offset = state["stage5.OSA5_1.layers.0.OSA5_1_0/conv.offset.weight"]
    assert offset.shape == (maps_per_tap * 2 * 9, 768, 3, 3)
    assert state["stage5.OSA5_1.layers.1.OSA5_1_1/conv.conv.weight"].shape == (224, 224, 3, 3)


def test_deformable_layers_without_offsets_are_plain_ones():
    deformable = DeformableSettings((False, True, True, True))
    body = VoVNet(spec=TINY, deformable=deformable)
    plain = make_tiny()
    state = {name.replace("/conv.conv.", "/conv."): v for name, v in body.state_dict().items()}
    plain.load_state_dict({name: v for name, v in state.items() if ".offset." not in name})
    for module in body.modules():
        if isinstance(module, DFConv2d):
            nn.init.zeros_(module.offset.weight)
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(body(x), plain(x))


def test_deformation_begins_with_the_first_step():
    """upstream: random-offsets"""
    torch.manual_seed(0)
    body = VoVNet(spec=TINY, deformable=DeformableSettings((True,) * 4, is_modulated=True))
    offset = body.stage5.OSA5_1.layers[0][0].offset
    fan_in = 16 * 9
    assert offset.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert not offset.bias.any()


@pytest.mark.parametrize(
    ("name", "stages", "expected"),
    [
        ("V-19-eSE", (True, True), "four flags"),
        ("V-19-dw-eSE", (False, False, False, True), "all False in a depthwise network"),
    ],
)
def test_impossible_deformable_stages_are_refused(name, stages, expected):
    cfg = vovnet_config(STAGE_WITH_DCN=stages)
    with pytest.raises(ConfigError, match=rf"STAGE_WITH_DCN: expected {expected}, got"):
        VoVNet.from_config(cfg, name)


@pytest.mark.parametrize(
    ("name", "c5_channels"), [("V_19_slim", 512), ("V_19_slim_dw", 512), ("V_19_dw", 1024)]
)
def test_lite_configurations_of_the_later_variants(name, c5_channels):
    """They are the Lite V-19 with another body."""
    folder = Path(__file__).parents[3] / "configs" / "centermask"
    cfg, base = get_default_config(), get_default_config()
    cfg.merge_from_file(folder / f"centermask_{name}_eSE_FPN_lite_res600_ms_bs16_4x.yaml")
    base.merge_from_file(folder / "centermask_V_19_eSE_FPN_lite_res600_ms_bs16_4x.yaml")
    before = dict(base.leaves())
    changed = {key for key, value in cfg.leaves() if value != before[key]}
    assert changed == {"MODEL.BACKBONE.CONV_BODY", "MODEL.WEIGHT", "OUTPUT_DIR"}
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert backbone.out_channels == 128
    assert backbone.fpn.fpn_inner4.weight.shape[1] == c5_channels
    is_depthwise = any("dw_conv3x3" in key for key in backbone.state_dict())
    assert is_depthwise == name.endswith("dw")
