"""The building blocks of FBNet."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.modeling.fbnet import builder as fbnet_builder
from maskrcnn_benchmark.modeling.fbnet.builder import (
    PRIMITIVES,
    BlockSettings,
    ChannelShuffle,
    Identity,
    IRFBlock,
    SEModule,
    Shift,
    round_to_multiple,
)


@pytest.mark.parametrize(
    ("number", "divisor", "expected"),
    [(20, 8, 24), (19, 8, 16), (24, 8, 24), (4, 8, 8), (0, 8, 0), (7.9, 1, 7), (7.9, 0, 7)],
)
def test_widths_are_multiples_with_halves_going_up(number, divisor, expected):
    assert round_to_multiple(number, divisor) == expected


def test_widths_that_round_to_nothing():
    # UPSTREAM(tiny-widths): 64 instead of 8.
    assert round_to_multiple(3, 8) == 64


def test_there_are_all_published_names():
    assert len(PRIMITIVES) == 39
    assert {"skip", "ir_k3", "ir_k5_s4_se", "ir_k33_e6", "ir_k7_sep_e3", "shuffle"} <= set(
        PRIMITIVES
    )


@pytest.mark.parametrize("num_images", [2, 0])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_block_keeps_the_promised_shape(name, num_images):
    block = PRIMITIVES[name](16, 32, 4, 1)
    x = torch.rand(num_images, 16, 7, 7, requires_grad=True)
    output = block(x)
    assert output.shape == (num_images, 32, 7, 7)
    output.sum().backward()
    assert x.grad.shape == x.shape
    buffers = [buffer for buffer in block.buffers() if buffer.is_floating_point()]
    assert all(torch.isfinite(buffer).all() for buffer in buffers)


@pytest.mark.parametrize(("stride", "side"), [(1, 7), (2, 4), (-2, 14), (4, 2)])
def test_strides_shrink_and_enlarge(stride, side):
    assert IRFBlock(4, 6, 2, stride)(torch.rand(1, 4, 7, 7)).shape == (1, 6, side, side)


def test_expansions_and_groups_of_the_names():
    assert PRIMITIVES["ir_k3"](16, 16, 4, 1).pw.conv.out_channels == 64
    assert PRIMITIVES["ir_k5_e6"](16, 16, 4, 1).pw.conv.out_channels == 96
    grouped = PRIMITIVES["ir_k3_s2"](16, 16, 4, 1)
    assert (grouped.pw.conv.out_channels, grouped.pw.conv.groups) == (16, 2)
    twice = PRIMITIVES["ir_k33_e3"](16, 16, 4, 2)
    assert [conv.conv.stride for conv in twice.dw] == [(2, 2), (1, 1)]
    assert isinstance(PRIMITIVES["ir_k3_e1_se"](16, 16, 4, 1).se4, SEModule)


def test_a_block_of_equal_shape_adds_its_input():
    block = IRFBlock(3, 3, 2, 1, BlockSettings(norm=None))
    nn.init.zeros_(block.pwl.conv.weight)
    x = torch.rand(2, 3, 5, 5)
    assert torch.equal(block(x), x)
    assert not IRFBlock(3, 3, 2, 2).is_residual


def test_checkpoint_names_of_a_block():
    keys = set(IRFBlock(4, 4, 2, 1, BlockSettings(norm=None, depthwise_norm=False)).state_dict())
    assert keys == {"pw.conv.weight", "dw.conv.weight", "pwl.conv.weight"}
    assert "dw.bn.running_mean" in IRFBlock(4, 4, 2, 1).state_dict()
    skipping = BlockSettings(depthwise_norm=False, depthwise_relu=False)
    assert list(dict(IRFBlock(4, 4, 2, 1, skipping).dw.named_children())) == ["conv"]


def test_identity_gives_the_input_itself_or_another_shape():
    x = torch.rand(10, 20, 7, 7)
    assert Identity(20, 20, 1)(x) is x
    assert Identity(20, 40, 2)(x).shape == (10, 40, 4, 4)


def test_shift_moves_groups_of_channels():
    # Ten channels over nine cells: one each, two in the middle.
    x = torch.zeros(1, 10, 3, 3)
    x[:, :, 1, 1] = 1
    moved = Shift(10, 3, 1, 1)(x)
    positions = [tuple(cell) for cell in moved.nonzero()[:, 2:].tolist()]
    # A kernel with its one at (i, j) moves the middle to (2 - i, 2 - j).
    expected = [(2 - i, 2 - j) for i in range(3) for j in range(3)]
    assert positions == [*expected[:5], (1, 1), *expected[5:]]


def test_shuffle_interleaves_groups():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert ChannelShuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    with pytest.raises(ValueError, match=r"\b6\b.*\b4\b"):
        ChannelShuffle(4)(x)


def test_squeeze_and_excitation_scales_channels():
    module = SEModule(16)
    assert module.op[1].out_channels == 8
    nn.init.zeros_(module.op[3].weight)
    nn.init.zeros_(module.op[3].bias)
    x = torch.rand(2, 16, 3, 3)
    torch.testing.assert_close(module(x), x / 2)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="stride"):
        IRFBlock(4, 4, 2, 3)
    with pytest.raises(ValueError, match=r"kernel: .*got 4"):
        IRFBlock(4, 4, 2, 1, kernel=4)
    with pytest.raises(ValueError, match="stride"):
        fbnet_builder.CascadeConv3x3(4, 4, 4)
