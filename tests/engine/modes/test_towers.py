"""Towers of graphs: which become one layer for all levels, and that it computes the same."""

import copy

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine.modes.fused_layers import WinogradConv2d
from maskrcnn_benchmark.engine.modes.fusion import fuse
from maskrcnn_benchmark.engine.modes.towers import FusedTower
from maskrcnn_benchmark.engine.modes.tracing import run_with_shapes, trace
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSHead, FCOSHeadSettings, FCOSSharedHead
from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetHead, RetinaNetHeadSettings

pytestmark = pytest.mark.skipif(
    not WinogradConv2d.has_kernel(torch.device("cpu")), reason="no kernel for this processor"
)
SIZES = [(17, 20), (9, 10), (1, 1)]


def levels(channels=32, n=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, channels, *hw, generator=generator) for hw in SIZES]


def randomised(module):
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    return module.eval()


@torch.no_grad()
def fused(module, inputs):
    """The module with its layers put together, and what it returned before."""
    traced = trace(module, inputs)
    expected = run_with_shapes(traced, inputs)
    fuse(traced, dtype=torch.float32, last_dtype=torch.float32, enlargement=3)
    return traced, expected


def towers_in(traced):
    layers = dict(traced.named_modules())
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    return [layers[node.target] for node in calls if isinstance(layers[node.target], FusedTower)]


def settings(**changes):
    return FCOSHeadSettings(in_channels=32, num_foreground=5, num_convs=2, num_levels=3, **changes)


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "num_towers"),
    [
        (lambda: FCOSHead(settings()), 2),
        (lambda: FCOSSharedHead(settings()), 1),
        # What is added to a tower is no part of it.
        (lambda: FCOSHead(settings(residual=True)), 0),
        (lambda: RetinaNetHead(RetinaNetHeadSettings(in_channels=32, num_anchors=3)), 2),
    ],
    ids=["fcos", "shared", "residual", "retinanet"],
)
def test_heads(make, num_towers):
    head, maps = randomised(make()), levels()
    traced, expected = fused(head, (maps,))
    assert len(towers_in(traced)) == num_towers
    torch.testing.assert_close(traced(maps), expected, rtol=1e-4, atol=1e-4)
    fewer = [maps[0][:1, :, :5, :4]] * len(maps)
    torch.testing.assert_close(traced(fewer), head(fewer), rtol=1e-4, atol=1e-4)


class Tower(nn.Module):
    """Two convolutions and two outputs, and what may be otherwise."""

    def __init__(self, *, norms=(None, None), strides=(1, 1), behind=None, shows=False):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 3, s, padding=1) for s in strides)
        self.norms = nn.ModuleList(norm for norm in norms if norm is not None)
        self.outputs = nn.ModuleList(nn.Conv2d(16, k, 3, padding=1) for k in (4, 3))
        self.behind = behind
        self.shows = shows

    def forward(self, maps):
        """Outputs of all maps, and the tower's own ones."""
        results, features = [], []
        for x in maps:
            for index, conv in enumerate(self.convs):
                x = conv(x)
                x = torch.relu(self.norms[index](x) if index < len(self.norms) else x)
            features.append(x)
            outputs = [output(x) for output in self.outputs]
            results.append([self.behind(y) for y in outputs] if self.behind else outputs)
        return (results, features) if self.shows else results


def group_norm(groups=4, eps=1e-5, **options):
    return nn.GroupNorm(groups, 16, eps=eps, **options)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        ({"norms": (group_norm(), group_norm())}, [2]),
        ({}, [2]),
        # Maps of strided convolutions, and behind others, are not there when the first tower
        # begins: each has a tower of its own.
        ({"strides": (2, 1)}, [1, 1, 1]),
        ({"norms": (group_norm(), None)}, [1, 1, 1]),
        ({"norms": (group_norm(), group_norm(8))}, [1, 1, 1]),
        ({"norms": (group_norm(), group_norm(eps=1e-3))}, [1, 1, 1]),
        ({"strides": (1, 2)}, []),
        ({"shows": True}, []),
        ({"norms": (group_norm(affine=False), group_norm(affine=False))}, []),
    ],
    ids=str,
)
def test_what_is_a_tower(options, lengths):
    module, maps = randomised(Tower(**copy.deepcopy(options))), levels(16)
    traced, expected = fused(module, (maps,))
    assert [tower.weight.num_convs for tower in towers_in(traced)] == lengths
    torch.testing.assert_close(traced(maps), expected, rtol=1e-4, atol=1e-4)


class Chained(nn.Module):
    """A map that depends on the outputs of another."""

    def __init__(self):
        super().__init__()
        self.conv, self.output = (nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))

    def forward(self, x):
        """The same tower twice, on the map and on its result."""
        once = self.output(torch.relu(self.conv(x)))
        return once, self.output(torch.relu(self.conv(torch.sigmoid(once))))


@torch.no_grad()
def test_maps_that_are_not_there_yet_wait():
    module, x = randomised(Chained()), levels(16)[0]
    traced, expected = fused(module, (x,))
    assert len(towers_in(traced)) == 2
    torch.testing.assert_close(traced(x), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_norm_behind_an_output_is_folded_into_it():
    module, maps = randomised(Tower()), levels(16)
    module.outputs = nn.ModuleList([nn.Conv2d(16, 4, 3, padding=1)])
    module.behind = nn.BatchNorm2d(4).eval()
    module.behind.running_mean.normal_()
    traced, expected = fused(module, (maps,))
    assert not towers_in(traced)
    torch.testing.assert_close(traced(maps), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_compiled():
    head, maps = randomised(FCOSHead(settings())), levels()
    traced, expected = fused(head, (maps,))
    torch._dynamo.reset()
    compiled = torch.compile(traced, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(maps), expected, rtol=1e-4, atol=1e-4)
