"""Inverted residual blocks of graphs: which become one layer, and that it computes the same."""

import copy

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine.modes.fused_layers import FoldedConv
from maskrcnn_benchmark.engine.modes.fusion import fuse
from maskrcnn_benchmark.engine.modes.integer_layers import PointwiseConv2d
from maskrcnn_benchmark.engine.modes.inverted_residual import (
    IntegerInvertedResidual,
    InvertedResidual,
)
from maskrcnn_benchmark.engine.modes.tracing import run_with_shapes, trace
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone.mobilenet import MobileNetV2

pytestmark = pytest.mark.skipif(
    not InvertedResidual.has_kernel(torch.device("cpu")), reason="no kernel for this processor"
)


def norm(channels):
    layer = FrozenBatchNorm2d(channels)
    layer.running_var.uniform_(0.5, 2)
    layer.running_mean.normal_(std=0.1)
    layer.bias.uniform_(-1, 1)
    return layer


def conv_norm(channels, outputs, side=1, **options):
    conv = nn.Conv2d(channels, outputs, side, padding=side // 2, bias=False, **options)
    return conv, norm(outputs)


class Block(nn.Module):
    """A block of MobileNetV2, whose parts may be others."""

    def __init__(
        self,
        *,
        expands=True,
        outputs=4,
        stride=1,
        first=nn.ReLU6,
        second=nn.ReLU6,
        last=nn.Identity,
        **depthwise,
    ):
        super().__init__()
        between = 24 if expands else 4
        layers = [*conv_norm(4, between), first()] if expands else []
        options = {"side": 3, "groups": between, "stride": stride} | depthwise
        layers += [*conv_norm(between, between, **options), second()]
        layers += [*conv_norm(between, outputs), last()]
        self.layers = nn.Sequential(*(each for each in layers if type(each) is not nn.Identity))

    def forward(self, x):
        return self.layers(x)


class Sum(Block):
    """The input is added."""

    def forward(self, x):
        return x + self.layers(x)


class OtherSum(Block):
    """Something else is added."""

    def forward(self, x):
        return self.layers(x) + 2 * x


class SeenBetween(Block):
    """What is between is needed elsewhere, too."""

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[-1], maps[3]


class Twice(Block):
    """The same block for two maps."""

    def forward(self, x):
        return self.layers(self.layers(x))


def fused(module, maps, dtype=torch.float32, products=torch.float32, enlargement=1):
    traced = trace(module, (maps,))
    run_with_shapes(traced, (maps.clone(),))
    fuse(traced, dtype=dtype, last_dtype=dtype, products=products, enlargement=enlargement)
    return traced


def num_blocks(traced, kind=InvertedResidual):
    return sum(isinstance(layer, kind) for layer in traced.modules())


ONE_LAYER = {
    "block": Block,
    "wider": lambda: Block(outputs=20),
    "stride": lambda: Block(stride=2),
    "relu": lambda: Block(first=nn.ReLU, second=nn.ReLU),
    "sum": Sum,
    "broadcast sum": lambda: Sum(outputs=1),
    "unexpanded": lambda: Block(expands=False),
    "unexpanded sum": lambda: Sum(expands=False),
    "twice": Twice,
}
# What is behind the first convolution is a block without expansion.
PARTLY = {
    "two activations": lambda: Block(first=nn.ReLU),
    "no activation": lambda: Block(first=nn.Identity),
    "needed elsewhere": SeenBetween,
}
SEVERAL = {
    "other sum": OtherSum,
    "no activation at all": lambda: Block(first=nn.Identity, second=nn.Identity),
    "activation behind": lambda: Block(last=nn.ReLU6),
    "five cells": lambda: Block(side=5),
    "groups": lambda: Block(groups=12),
    "dilation": lambda: Block(dilation=2),
    "long strides": lambda: Block(stride=3),
}


@pytest.mark.parametrize("hw", [(6, 9), (1, 1)])
@pytest.mark.parametrize("case", ONE_LAYER)
@torch.no_grad()
def test_one_layer_computes_the_same(case, hw):
    torch.manual_seed(0)
    module, maps = ONE_LAYER[case]().eval(), torch.randn(2, 4, *hw)
    expected = copy.deepcopy(module)(maps)
    traced = fused(module, maps)
    assert num_blocks(traced) == 1
    torch.testing.assert_close(traced(maps), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "number"), [*((case, 0) for case in SEVERAL), *((case, 1) for case in PARTLY)]
)
@torch.no_grad()
def test_other_blocks_stay_several_layers(case, number):
    torch.manual_seed(0)
    module, maps = (SEVERAL | PARTLY)[case]().eval(), torch.randn(2, 4, 6, 9)
    expected = copy.deepcopy(module)(maps)
    traced = fused(module, maps)
    assert num_blocks(traced) == number
    torch.testing.assert_close(traced(maps), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["block", "stride", "sum", "unexpanded"])
@torch.no_grad()
def test_large_maps_of_16_bits(case):
    torch.manual_seed(0)
    module, maps = ONE_LAYER[case]().eval(), torch.randn(2, 4, 6, 9)
    expected = copy.deepcopy(module)(maps)
    # What is between fits into the cache.
    assert num_blocks(fused(copy.deepcopy(module), maps, torch.bfloat16)) == 0
    traced = fused(module, maps, torch.bfloat16, enlargement=100)
    assert num_blocks(traced) == 1
    result = traced(maps)
    assert result.dtype is torch.bfloat16
    # Measured: 0.0023; what comes in and what leaves are rounded to 8 bits.
    assert (result.float() - expected).norm() < 0.005 * expected.norm()


@torch.no_grad()
def test_the_whole_body():
    torch.manual_seed(0)
    body, images = MobileNetV2().eval(), torch.randn(2, 3, 64, 96)
    for layer in body.modules():
        if isinstance(layer, FrozenBatchNorm2d):
            layer.load_state_dict(norm(layer.weight.numel()).state_dict())
    expected = copy.deepcopy(body)(images)
    in_16_bits = fused(body, images, torch.bfloat16, torch.int16)
    traced = fused(body, images)
    assert num_blocks(traced) == 17
    if PointwiseConv2d.suits(FoldedConv.of(nn.Conv2d(64, 64, 1))):
        # From 64 channels on products of integers are faster.
        in_integers = fused(body, images, products=torch.int16)
        assert num_blocks(in_integers) == 7
        assert num_blocks(in_integers, IntegerInvertedResidual) == 10
        # All with an expansion.
        assert num_blocks(in_16_bits, IntegerInvertedResidual) == 16
        for maps, exact in zip(in_integers(images), expected, strict=True):
            # Measured: 1.5e-4.
            assert (maps - exact).norm() < 5e-4 * exact.norm()
    for maps, exact in zip(in_16_bits(images), expected, strict=True):
        # Measured: 2.4e-3.
        assert (maps - exact).norm() < 1e-2 * exact.norm()
    for maps, exact in zip(traced(images), expected, strict=True):
        assert maps.shape == exact.shape
        # Measured: 1e-6.
        assert (maps - exact).norm() < 1e-5 * exact.norm()
