import pytest
import torch

from maskrcnn_benchmark.layers import at_least_float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_becomes_float32(dtype):
    x = torch.tensor([0.5, 2.0], dtype=dtype, requires_grad=True)
    y = at_least_float32(x)
    assert y.dtype == torch.float32
    assert y.tolist() == [0.5, 2.0]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_double_precision_stays():
    x = torch.zeros(2, dtype=torch.float64)
    assert at_least_float32(x) is x
