import torch
from torch import nn

from maskrcnn_benchmark.modeling.backbone.fpn import (
    FPN,
    LastLevelMaxPool,
    LastLevelP6P7,
    add_bilinear,
    mean_nearest,
)


def identity_conv(in_channels, out_channels, kernel_size):
    """A convolution that copies its input."""
    assert in_channels == out_channels
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.dirac_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def make_fpn(in_channels_list=(0, 2, 2), top_blocks=None):
    return FPN(
        in_channels_list=in_channels_list,
        out_channels=2,
        conv_block=identity_conv,
        top_blocks=top_blocks,
    )


def test_coarse_maps_are_repeated_and_added():
    fine = torch.zeros(1, 2, 4, 4)
    coarse = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 2, 2, 2)
    p3, p4 = make_fpn()([torch.zeros(1, 9, 8, 8), fine, coarse])
    expected = torch.tensor(
        [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0], [3.0, 3.0, 4.0, 4.0]]
    )
    assert torch.equal(p3[0, 0], expected)
    assert torch.equal(p4, coarse)


def test_means_are_halved_on_every_level():
    fpn = make_fpn((2, 2, 2))
    fpn.top_down = mean_nearest
    p2, p3, p4 = fpn([torch.full((1, 2, n, n), float(n)) for n in (4, 2, 1)])
    assert [one.unique().item() for one in (p2, p3, p4)] == [(4 + (2 + 1) / 2) / 2, 1.5, 1.0]


def test_left_out_level_keeps_its_number():
    names = {name.split(".")[0] for name, _ in make_fpn().named_parameters()}
    assert names == {"fpn_inner2", "fpn_layer2", "fpn_inner3", "fpn_layer3"}


def test_odd_sizes_are_accepted():
    p3, p4 = make_fpn()([torch.zeros(1, 1, 10, 6), torch.ones(1, 2, 5, 3), torch.ones(1, 2, 3, 2)])
    assert p3.shape[-2:] == (5, 3)
    assert torch.equal(p3, torch.full_like(p3, 2.0))
    assert torch.equal(p4, torch.ones_like(p4))


def test_p6_comes_from_p5_unless_c5_is_asked_for():
    c5, p5 = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 4, 4)
    for use_c5, source in ((False, p5), (True, c5)):
        block = LastLevelP6P7(c5_channels=3, out_channels=2, use_c5=use_c5)
        p6, p7 = block(c5, p5)
        torch.testing.assert_close(p6, block.p6(source))
        torch.testing.assert_close(p7, block.p7(p6.relu()))
        assert p6.shape[-2:] == (2, 2)
        assert p7.shape[-2:] == (1, 1)


def test_one_cell_has_coarser_levels_too():
    block = LastLevelP6P7(c5_channels=3, out_channels=2, use_c5=False)
    p6, p7 = block(torch.zeros(1, 3, 1, 1), torch.zeros(1, 2, 1, 1))
    assert p6.shape == p7.shape == (1, 2, 1, 1)


def test_max_pool_takes_every_second_cell():
    p5 = torch.arange(9.0).reshape(1, 1, 3, 3)
    (p6,) = LastLevelMaxPool()(p5, p5)
    assert p6[0, 0].tolist() == [[0.0, 2.0], [6.0, 8.0]]


def test_top_blocks_follow_the_pyramid():
    maps = make_fpn(top_blocks=LastLevelMaxPool())(
        [torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2)]
    )
    assert [tuple(m.shape[-2:]) for m in maps] == [(4, 4), (2, 2), (1, 1)]


def test_bilinear_top_down_and_layers_of_their_own():
    """In YOLACT's pyramid a ReLU follows the smoothing convolutions alone."""
    fpn = FPN(
        in_channels_list=(0, 2, 2),
        out_channels=2,
        conv_block=identity_conv,
        layer_block=lambda *sizes: nn.Sequential(identity_conv(*sizes), nn.ReLU()),
        top_down=add_bilinear,
    )
    coarse = torch.tensor([[-4.0, 4.0]]).expand(1, 2, 1, 2)
    p3, p4 = fpn([torch.zeros(1, 9, 2, 8), torch.zeros(1, 2, 1, 4), coarse])
    assert p3[0, 0].tolist() == [[0, 0, 2, 4]]
    assert p4[0, 0].tolist() == [[0, 4]]


def test_p7_may_come_from_p6_itself():
    block = LastLevelP6P7(c5_channels=3, out_channels=2, use_c5=False, relu=False)
    p6, p7 = block(torch.randn(1, 3, 8, 8), torch.randn(1, 2, 8, 8))
    torch.testing.assert_close(p7, block.p7(p6))


def test_padding_at_the_end_moves_windows_to_the_first_cells():
    p5 = torch.arange(16.0).view(1, 1, 4, 4)
    block = LastLevelP6P7(c5_channels=1, out_channels=1, use_c5=False, pads_at_the_end=True)
    for conv in (block.p6, block.p7):
        torch.nn.init.zeros_(conv.weight)
        conv.weight.data[..., 0, 0] = 1
    p6, p7 = block(p5, p5)
    # The first cells of the windows at 0 and 2.
    assert p6[0, 0].tolist() == [[0, 2], [8, 10]]
    assert p7[0, 0].tolist() == [[0]]


def test_maps_are_normalised_in_the_end_and_coarser_ones_are_made_before():
    class Doubling(nn.Module):
        def forward(self, x):
            return 2 * x

    fpn = FPN(
        in_channels_list=(0, 2, 2),
        out_channels=2,
        conv_block=identity_conv,
        top_blocks=LastLevelMaxPool(),
        norms=lambda _: Doubling(),
    )
    maps = [torch.zeros(1, 9, 8, 8), torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)]
    plain = make_fpn(top_blocks=LastLevelMaxPool())(maps)
    for found, expected in zip(fpn(maps), plain, strict=True):
        assert torch.equal(found, 2 * expected)
    assert len(fpn.norms) == 3
