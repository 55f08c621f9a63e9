from functools import partial

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.make_layers import (
    GroupNormSettings,
    init_kaiming_normal,
    init_normal,
    make_conv,
    make_fc,
    make_norm,
    make_tower,
)


def test_group_norm_by_number_of_groups_or_by_their_size():
    assert GroupNormSettings(num_groups=4)(8).num_groups == 4
    norm = GroupNormSettings(num_groups=-1, channels_per_group=4, epsilon=1e-3)(12)
    assert norm.num_groups == 3
    assert norm.eps == 1e-3


@pytest.mark.parametrize(("num_groups", "channels_per_group"), [(-1, -1), (32, 8)])
def test_exactly_one_count_decides(num_groups, channels_per_group):
    with pytest.raises(ConfigError, match=r"NUM_GROUPS.*DIM_PER_GP"):
        GroupNormSettings(num_groups=num_groups, channels_per_group=channels_per_group)


def test_indivisible_channels_are_named():
    with pytest.raises(ConfigError, match=r"10.* 4"):
        GroupNormSettings(num_groups=4)(10)


def test_group_norm_reads_the_settings_in_hand():
    # UPSTREAM(group-norm-settings): the original read the global configuration here.
    cfg = get_default_config()
    cfg.MODEL.GROUP_NORM.NUM_GROUPS = 8
    cfg.MODEL.GROUP_NORM.EPSILON = 0.5
    assert GroupNormSettings.from_config(cfg) == GroupNormSettings(8, -1, 0.5)


def test_lone_convolution_keeps_the_size_and_has_a_bias():
    conv = make_conv(3, 5, kernel_size=3, dilation=2)
    assert isinstance(conv, nn.Conv2d)
    assert conv(torch.zeros(1, 3, 7, 6)).shape == (1, 5, 7, 6)
    assert torch.equal(conv.bias, torch.zeros(5))


def test_convolution_with_norm_and_relu():
    block = make_conv(3, 4, kernel_size=1, norm=GroupNormSettings(num_groups=2), relu=True)
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.GroupNorm, nn.ReLU]
    assert block[0].bias is None


def test_initialisations_have_their_spread():
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 64, 3)
    init_kaiming_normal(conv)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    init_normal(conv, 0.01)
    assert conv.weight.std().item() == pytest.approx(0.01, rel=0.03)
    fc = make_fc(300, 200)
    bound = (3 / 300) ** 0.5
    assert fc.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert torch.equal(fc.bias, torch.zeros(200))


@pytest.mark.parametrize("norm", [None, partial(nn.GroupNorm, 2)])
def test_a_tower_is_one_row_of_layers(norm):
    torch.manual_seed(0)
    tower = make_tower(32, 2, std=0.1, norm=norm)
    kinds = [nn.Conv2d, nn.GroupNorm, nn.ReLU] if norm else [nn.Conv2d, nn.ReLU]
    assert [type(layer) for layer in tower] == kinds * 2
    assert tower[0].weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert not tower[0].bias.any()
    assert tower(torch.randn(1, 32, 4, 5)).shape == (1, 32, 4, 5)
    assert len(make_tower(32, 0, std=0.1)) == 0


@pytest.mark.parametrize(
    ("name", "use_gn", "kind"),
    [
        ("", False, None),
        ("", True, "GroupNorm"),
        ("GN", False, "GroupNorm"),
        ("BN", True, "BatchNorm2d"),
        ("FrozenBN", False, "FrozenBatchNorm2d"),
    ],
)
def test_a_part_says_its_norm(name, use_gn, kind):
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.FPN.NORM", name, "MODEL.FPN.USE_GN", use_gn])
    norm = make_norm(cfg, cfg.MODEL.FPN)
    assert (norm and type(norm(32)).__name__) == kind


def test_an_unknown_norm_is_named_with_the_known_ones():
    cfg = get_default_config()
    cfg.MODEL.FPN.NORM = "LN"
    with pytest.raises(ConfigError, match=r"norm .*'LN'; known: .*FrozenBN"):
        make_norm(cfg, cfg.MODEL.FPN)
