import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine.modes.fused_linear import FusedLinear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(0, 70), (3, 70), (2, 5, 70), (2, 0, 70), (70,)])
@torch.no_grad()
def test_it_is_the_linear_layer(shape, bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(70, 40, bias=bias), torch.randn(shape)
    found = FusedLinear(linear, dtype=torch.float32)(x)
    # Measured: 5e-7.
    torch.testing.assert_close(found, linear(x), rtol=0, atol=5e-6)
    in_16_bits = FusedLinear(linear, dtype=torch.bfloat16)(x)
    assert in_16_bits.dtype == torch.bfloat16
    torch.testing.assert_close(in_16_bits.float(), linear(x), rtol=0.02, atol=0.02)


@torch.no_grad()
def test_it_computes_in_its_own_type():
    linear, x = nn.Linear(7, 5), torch.randn(3, 7)
    assert FusedLinear(linear, dtype=torch.float32)(x.bfloat16()).dtype == torch.float32


@torch.no_grad()
def test_weights_can_be_put_in_order_again():
    linear, x = nn.Linear(70, 40), torch.randn(3, 70)
    layer = FusedLinear(linear, dtype=torch.float32)
    layer.unpack()
    assert torch.equal(layer.weight, linear.weight)
    torch.testing.assert_close(layer(x), linear(x))
