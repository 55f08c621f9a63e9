import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskrcnn_benchmark.engine.modes.fused_layers import Activation, FoldedConv
from maskrcnn_benchmark.engine.modes.integer_layers import IntegerLinear, PointwiseConv2d
from maskrcnn_benchmark.layers import ops_status

ACTIVATIONS = {
    Activation.NONE: lambda x: x,
    Activation.RELU: F.relu,
    Activation.RELU6: F.relu6,
}


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("with_addend", [False, True])
@torch.no_grad()
def test_it_is_the_convolution_and_what_follows(activation, stride, with_addend):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(70, 40, 1, stride=stride), 4 * torch.randn(2, 70, 11, 13)
    norm = nn.BatchNorm2d(40).eval()
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2)
    expected = norm(conv(x))
    addends = [torch.randn_like(expected)] if with_addend else []
    expected = ACTIVATIONS[activation](sum(addends, expected))
    layer = PointwiseConv2d(FoldedConv.of(conv, norm), activation=activation)
    found = layer(x, *addends)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    # Measured: 1.3e-3 of results up to 9.
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)
    assert layer(x[:0]).shape == expected[:0].shape


@pytest.mark.skipif(
    "cpu" not in ops_status().kernels.get("pointwise_conv_int16", ()),
    reason="no instructions for products of 16-bit integers on this processor",
)
def test_which_convolutions_it_computes():
    def suits(channels=64, outputs=64, kernel_size=1, **options):
        conv = nn.Conv2d(channels, outputs, kernel_size, **options)
        return PointwiseConv2d.suits(FoldedConv.of(conv))

    assert suits()
    assert suits(stride=2)
    for other in (
        *({"kernel_size": 3}, {"kernel_size": (1, 3)}, {"padding": 1}, {"stride": (1, 2)}),
        *({"groups": 2}, {"channels": 16}, {"outputs": 16}),
    ):
        assert not suits(**other), other


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_a_linear_layer(bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(200, 70, bias=bias), torch.randn(5, 3, 200)
    layer = IntegerLinear(linear)
    # Measured: 2e-4 of results up to 2.
    torch.testing.assert_close(layer(x), linear(x), rtol=0, atol=1e-3)
    assert layer(x[:0]).shape == (0, 3, 70)


@torch.no_grad()
def test_weights_that_no_cache_holds():
    torch.manual_seed(0)
    linear, x = nn.Linear(5000, 1000), torch.randn(200, 5000)
    torch.testing.assert_close(IntegerLinear(linear)(x), linear(x), rtol=0, atol=2e-3)
