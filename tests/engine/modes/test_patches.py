"""Transposed convolutions without overlap, before and after layers are put together."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine.modes.fused_layers import FusedConvTranspose2d
from maskrcnn_benchmark.engine.modes.fusion import fuse
from maskrcnn_benchmark.engine.modes.patches import PatchConvTranspose2d
from maskrcnn_benchmark.engine.modes.tracing import run_with_shapes, trace

SIZES = {
    "square": (2, 2),
    "wide": ((1, 3), (1, 3)),
    "cell": (1, 1),
}
OTHER_SIZES = {
    "overlap": {"kernel_size": 4, "stride": 2, "padding": 1},
    "gaps": {"kernel_size": 2, "stride": 3},
    "groups": {"kernel_size": 2, "stride": 2, "groups": 2},
    "one side more": {"kernel_size": 2, "stride": 2, "output_padding": 1},
}


def fused(module, maps, dtype=torch.float32):
    traced = trace(module.eval(), (maps,))
    run_with_shapes(traced, (maps.clone(),))
    fuse(traced, dtype=dtype, last_dtype=dtype, products=torch.float32, enlargement=1)
    return traced


def kinds(traced):
    return [
        type(traced.get_submodule(n.target)) for n in traced.graph.nodes if n.op == "call_module"
    ]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Identity])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
@torch.no_grad()
def test_patches_are_those_of_the_transposed_convolution(sizes, has_bias, activation):
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(20, 12, *SIZES[sizes], bias=has_bias)
    module, maps = nn.Sequential(conv, activation()), 4 * torch.randn(3, 20, 5, 7)
    expected = module(maps)
    traced = fused(module, maps)
    assert PatchConvTranspose2d in kinds(traced)
    assert not {nn.ReLU, nn.ReLU6} & set(kinds(traced))
    found = traced(maps)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 20, 5, 7), (1, 20, 1, 1)])
@torch.no_grad()
def test_no_images_and_one_cell(shape):
    torch.manual_seed(0)
    module = nn.Sequential(nn.ConvTranspose2d(20, 12, 2, 2), nn.ReLU())
    traced, maps = fused(module, torch.randn(1, 20, 4, 4)), torch.randn(shape)
    torch.testing.assert_close(traced(maps), module(maps), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_in_16_bits():
    torch.manual_seed(0)
    module, maps = nn.ConvTranspose2d(20, 12, 2, 2), torch.randn(3, 20, 5, 7)
    found = fused(nn.Sequential(module), maps, torch.bfloat16)(maps)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), module(maps), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("sizes", OTHER_SIZES)
@torch.no_grad()
def test_others_stay_transposed_convolutions(sizes):
    torch.manual_seed(0)
    module = nn.Sequential(nn.ConvTranspose2d(4, 6, **OTHER_SIZES[sizes]), nn.ReLU())
    maps = torch.randn(2, 4, 5, 7)
    expected = module(maps)
    traced = fused(module, maps)
    assert kinds(traced)[0] is FusedConvTranspose2d
    torch.testing.assert_close(traced(maps), expected, rtol=1e-5, atol=1e-5)
