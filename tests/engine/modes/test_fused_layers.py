import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskrcnn_benchmark.engine.modes.fused_layers import (
    Activation,
    FoldedConv,
    FusedConv2d,
    WinogradConv2d,
    can_be_folded,
    can_be_fused,
)
from maskrcnn_benchmark.layers import FrozenBatchNorm2d, ops_status

ACTIVATIONS = {
    Activation.NONE: lambda x: x,
    Activation.RELU: F.relu,
    Activation.RELU6: F.relu6,
}


def uneven(norm):
    """The norm with statistics and weights that all differ."""
    generator = torch.Generator().manual_seed(1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(norm, name).data
        values.copy_(torch.rand(values.shape, generator=generator) + 0.3)
    return norm.eval()


def conv_and_input(kernel_size=3, **options):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, kernel_size, **options)
    return conv, torch.randn(2, 8, 11, 13) * 4


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"padding": 1, "stride": 2},
        {"padding": (2, 1), "dilation": (2, 1), "groups": 4},
        {"padding": 1, "groups": 8, "stride": (1, 2)},
        {"kernel_size": 1, "stride": 2},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@torch.no_grad()
def test_it_is_the_convolution_and_what_follows(options, activation, dtype):
    """In double precision without oneDNN, on which the other types depend."""
    conv, x = conv_and_input(**options)
    norm = uneven(nn.BatchNorm2d(16))
    expected = ACTIVATIONS[activation](norm(conv(x)))
    fused = FusedConv2d(FoldedConv.of(conv, norm), activation=activation, dtype=dtype)
    found = fused(x)
    assert found.dtype == dtype
    tolerance = 0.05 if dtype == torch.bfloat16 else 2e-5
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("products", [torch.float32, torch.int16])
@pytest.mark.parametrize("padding", [0, 1])
@torch.no_grad()
def test_fewer_multiplications_give_the_same(activation, dtype, products, padding):
    conv, x = conv_and_input(padding=padding)
    norm = uneven(nn.BatchNorm2d(16))
    expected = ACTIVATIONS[activation](norm(conv(x)))
    types = {"dtype": dtype, "products": products}
    layer = WinogradConv2d(FoldedConv.of(conv, norm), activation=activation, **types)
    found = layer(x)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    tolerance = 0.05 if dtype == torch.bfloat16 else 2e-2 if products == torch.int16 else 2e-5
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)
    assert layer(x[:0]).shape == expected[:0].shape


def suits(channels=64, outputs=64, dtype=torch.float32, activation=Activation.RELU, **options):
    conv = nn.Conv2d(channels, outputs, **{"kernel_size": 3, "padding": 1, **options})
    return WinogradConv2d.suits(
        FoldedConv.of(conv),
        activation=activation,
        dtype=dtype,
        typical_input=(1, channels, 32, 32),
    )


@pytest.mark.skipif(ops_status().register_bytes < 32, reason="needs the compiled library and AVX2")
def test_which_convolutions_are_computed_with_fewer_multiplications():
    assert suits()
    assert suits(padding=0)
    assert suits(outputs=1)
    assert suits(dtype=torch.bfloat16)
    for other in (
        *({"kernel_size": 1, "padding": 0}, {"kernel_size": (3, 1)}, {"padding": (1, 0)}),
        *({"stride": 2}, {"dilation": 2}, {"groups": 2}, {"channels": 8}),
        *({"activation": Activation.RELU6}, {"dtype": torch.float64}),
        *({"dtype": torch.bfloat16, name: 32} for name in ("channels", "outputs")),
    ):
        assert not suits(**other), other


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kernel_size", "channels"), [(1, (1024, 2048)), (3, (512, 192)), (3, (256, 256))]
)
@torch.no_grad()
def test_no_call_arranges_the_weights_again_slowly(dtype, kernel_size, channels, capfd):
    """oneDNN's reorder of any kind, "simple", takes ten times as long as such a convolution."""
    conv = nn.Conv2d(*channels, kernel_size, padding=kernel_size // 2)
    folded, typical = FoldedConv.of(conv), (1, channels[0], 48, 60)
    fused = FusedConv2d(folded, activation=Activation.RELU, dtype=dtype, typical_input=typical)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        for size in [(48, 60), (50, 68), (38, 64), (26, 40)]:
            fused(torch.zeros(1, channels[0], *size))
    lines = [line for line in capfd.readouterr().out.splitlines() if ",exec," in line]
    assert any("convolution" in line for line in lines) or not fused.is_packed
    assert not [line for line in lines if "reorder,simple" in line]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU])
@torch.no_grad()
def test_it_adds_and_takes_the_place_of_the_addend_only_if_told_to(activation, overwrites, dtype):
    conv, x = conv_and_input(padding=1)
    addend = torch.randn(2, 16, 11, 13).to(dtype, memory_format=torch.channels_last)
    before = addend.clone()
    fused = FusedConv2d(
        FoldedConv.of(conv), activation=activation, dtype=dtype, overwrites=overwrites
    )
    expected = ACTIVATIONS[activation](conv(x) + before)
    torch.testing.assert_close(fused(x, addend).float(), expected.float(), rtol=2e-5, atol=2e-5)
    if not overwrites:
        assert torch.equal(addend, before)


@torch.no_grad()
def test_a_frozen_norm_has_no_epsilon():
    conv, x = conv_and_input()
    norm = uneven(FrozenBatchNorm2d(16))
    norm.running_var.fill_(1e-5)
    fused = FusedConv2d(FoldedConv.of(conv, norm), activation=Activation.NONE, dtype=torch.float32)
    torch.testing.assert_close(fused(x), norm(conv(x)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_maps_and_maps_of_one_cell(dtype):
    conv, _ = conv_and_input(padding=1, stride=2)
    fused = FusedConv2d(FoldedConv.of(conv), activation=Activation.RELU, dtype=dtype)
    assert fused(torch.zeros(0, 8, 9, 9)).shape == (0, 16, 5, 5)
    x = torch.randn(1, 8, 1, 1)
    torch.testing.assert_close(fused(x).float(), conv(x).detach().relu())


def test_what_can_be_fused_and_folded():
    assert can_be_fused(nn.Conv2d(1, 1, 3))
    assert not can_be_fused(nn.Conv2d(1, 1, 3, padding="same"))
    assert not can_be_fused(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))
    assert not can_be_fused(nn.ConvTranspose2d(1, 1, 3))
    assert can_be_folded(FrozenBatchNorm2d(2))
    assert can_be_folded(nn.BatchNorm2d(2).eval())
    # These take the statistics of what they get.
    assert not can_be_folded(nn.BatchNorm2d(2))
    assert not can_be_folded(nn.BatchNorm2d(2, track_running_stats=False).eval())
    assert not can_be_folded(nn.GroupNorm(1, 2))


@torch.no_grad()
def test_a_norm_without_weights_is_folded():
    conv, x = conv_and_input()
    norm = nn.BatchNorm2d(16, affine=False).eval()
    norm.running_mean.fill_(0.7)
    fused = FusedConv2d(FoldedConv.of(conv, norm), activation=Activation.NONE, dtype=torch.float32)
    torch.testing.assert_close(fused(x), norm(conv(x)), rtol=1e-5, atol=1e-5)
