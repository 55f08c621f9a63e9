"""Graphs of small modules before and after their layers are put together."""

import copy

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from maskrcnn_benchmark.engine.modes.fused_layers import FusedConv2d
from maskrcnn_benchmark.engine.modes.fusion import fuse
from maskrcnn_benchmark.engine.modes.tracing import run_with_shapes, trace
from maskrcnn_benchmark.layers import DFConv2d, FrozenBatchNorm2d, ModulatedDeformConvPack


def conv_norm(channels=4, **options):
    norm = FrozenBatchNorm2d(channels)
    norm.running_var.uniform_(0.5, 2)
    norm.bias.uniform_(-1, 1)
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, **options), norm)


class Residual(nn.Module):
    """Two convolutions and their input, which is a result itself and is needed again."""

    def __init__(self, *, is_needed_again, channels=4):
        super().__init__()
        self.first, self.second, self.third = (conv_norm(channels) for _ in range(3))
        self.is_needed_again = is_needed_again

    def forward(self, x):
        x = F.relu(self.first(x))
        y = torch.relu(self.third(self.second(x).relu()) + x)
        return (y, x) if self.is_needed_again else (y,)


class View(nn.Module):
    """What is added is seen through another tensor afterwards."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv_norm(), conv_norm()

    def forward(self, x):
        x = self.first(x)
        view = x.flatten(2)
        return self.second(x) + x, view


class Broadcast(nn.Module):
    """What is added has fewer cells."""

    def __init__(self):
        super().__init__()
        self.conv = conv_norm()

    def forward(self, x):
        return self.conv(x) + x.mean(dim=(2, 3), keepdim=True)


class TwiceThenOnce(nn.Module):
    """A convolution whose result is needed before its activation, too."""

    def __init__(self):
        super().__init__()
        self.conv = conv_norm()

    def forward(self, x):
        y = self.conv(x)
        return y.relu() + y


class SharedTower(nn.Module):
    """One tower on every level."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
        self.last = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, maps):
        return [self.last(self.tower(x)) for x in maps]


class TopDown(nn.Module):
    """The steps of a feature pyramid."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, fine, coarse):
        top = self.coarse(coarse)
        lateral = self.fine(fine)
        return lateral + F.interpolate(top, size=lateral.shape[-2:], mode="nearest"), top


class DoubledInput(nn.Module):
    """A sum of a result with itself."""

    def __init__(self):
        super().__init__()
        self.conv = conv_norm()

    def forward(self, x):
        y = self.conv(x)
        return y + y


def deformable_norm(layer):
    """A deformable convolution whose offsets are not 0, a norm with fixed statistics and a ReLU."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return nn.Sequential(layer, conv_norm()[1], nn.ReLU())


DEFORMABLE = {
    "pack": lambda: ModulatedDeformConvPack(4, 4, 3, padding=1),
    "version 2": lambda: DFConv2d(4, 4),
    "version 1": lambda: DFConv2d(4, 4, with_modulated_dcn=False),
}


def fused(module, *inputs, dtype=torch.float32, last_dtype=torch.float32):
    traced = trace(module.eval(), inputs)
    run_with_shapes(traced, copy.deepcopy(inputs))
    fuse(traced, dtype=dtype, last_dtype=last_dtype)
    return traced


def convolutions(module):
    return [layer for layer in module.modules() if isinstance(layer, FusedConv2d)]


def layers(traced):
    return [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]


def x(side=6, channels=4):
    return torch.randn(1, channels, side, side)


CASES = {
    "residual": (lambda: Residual(is_needed_again=False), lambda: (x(),)),
    "residual needed again": (lambda: Residual(is_needed_again=True), lambda: (x(),)),
    "view": (View, lambda: (x(),)),
    "broadcast": (Broadcast, lambda: (x(),)),
    "twice then once": (TwiceThenOnce, lambda: (x(),)),
    "shared tower": (SharedTower, lambda: ([x(), x(3), x(1)],)),
    "many channels": (
        lambda: Residual(is_needed_again=False, channels=16),
        lambda: (x(channels=16),),
    ),
    "top down": (TopDown, lambda: (x(), x(3))),
    "doubled input": (DoubledInput, lambda: (x(),)),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_result_is_the_same(case):
    torch.manual_seed(0)
    make_module, make_inputs = CASES[case]
    module, inputs = make_module().eval(), make_inputs()
    expected = copy.deepcopy(module)(*copy.deepcopy(inputs))
    found = fused(module, *copy.deepcopy(inputs))(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DEFORMABLE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_deformable_convolutions_take_up_the_norm_behind_them(kind, dtype):
    module = deformable_norm(DEFORMABLE[kind]()).eval()
    maps = x()
    expected = module(maps)
    traced = fused(module, maps, dtype=dtype)
    assert len(layers(traced)) == 2
    torch.testing.assert_close(traced(maps), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_deformable_convolution_that_something_else_reads_keeps_its_output():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm, _ = deformable_norm(DFConv2d(4, 4))

        def forward(self, maps):
            y = self.layer(maps)
            return self.norm(y), y

    module, maps = Both().eval(), x()
    torch.testing.assert_close(fused(module, maps)(maps), module(maps))


@torch.no_grad()
def test_a_block_becomes_one_layer_for_each_convolution():
    traced = fused(Residual(is_needed_again=False), x())
    assert len(layers(traced)) == 3
    assert [layer.overwrites for layer in convolutions(traced)] == [False, False, True]


@pytest.mark.parametrize("module", [Residual(is_needed_again=True), View()])
def test_what_is_needed_again_is_not_overwritten(module):
    assert not any(layer.overwrites for layer in convolutions(fused(module, x())))


def test_the_input_is_not_overwritten():
    class OntoInput(Broadcast):
        def forward(self, x):
            return self.conv(x) + x

    before = x()
    given = before.clone()
    with torch.no_grad():
        fused(OntoInput(), given)(given)
    assert torch.equal(given, before)


def test_a_layer_for_all_levels_stays_one():
    traced = fused(SharedTower(), [x(), x(3), x(1)])
    assert len(convolutions(traced)) == 2
    # Two convolutions and the norm on each of three levels; the ReLU is the norm's.
    assert len([node for node in layers(traced) if node.op == "call_module"]) == 9


def test_the_last_convolutions_have_a_type_of_their_own():
    maps = [x(), x(3)]
    traced = fused(SharedTower(), maps, dtype=torch.bfloat16)
    assert sorted(str(layer.dtype) for layer in convolutions(traced)) == [
        "torch.bfloat16",
        "torch.float32",
    ]
    with torch.no_grad():
        assert {y.dtype for y in traced(maps)} == {torch.float32}


@torch.no_grad()
def test_transposed_and_linear_layers_change_their_type():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.linear = nn.ConvTranspose2d(4, 4, 2, 2), nn.Linear(4 * 16, 3)
            self.scale = nn.PReLU()

        def forward(self, x):
            return self.linear(self.scale(self.up(x)).flatten(1))

    torch.manual_seed(0)
    module, given = Mixed(), torch.randn(2, 4, 2, 2)
    expected = module(given)
    found = fused(module, given, dtype=torch.bfloat16)(given)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


class DependsOnSize(nn.Module):
    def forward(self, x):
        return x if x.shape[-1] > 2 else x + 1


class NeedsMore(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("module", "inputs"), [(DependsOnSize(), (x(),)), (NeedsMore(), (x(), x()))]
)
def test_what_depends_on_sizes_is_not_traced(module, inputs):
    assert trace(module, inputs) is None


def test_an_argument_that_is_left_out_has_its_default():
    class Optional(nn.Module):
        def forward(self, x, y=None):
            return x if y is None else x + y

    given = x()
    traced = trace(Optional(), (given,))
    assert isinstance(traced, fx.GraphModule)
    assert torch.equal(traced(given), given)
