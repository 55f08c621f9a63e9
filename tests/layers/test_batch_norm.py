import pytest
import torch

from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from tests.golden_data import golden_npz

BUFFERS = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.golden
def test_same_output_as_the_original():
    golden = golden_npz("ops")
    module = FrozenBatchNorm2d(5)
    module.load_state_dict({k: torch.from_numpy(golden[f"frozenbn_{k}"]) for k in BUFFERS})
    output = module(torch.from_numpy(golden["frozenbn_x"]))
    torch.testing.assert_close(output, torch.from_numpy(golden["frozenbn_y"]))


def test_there_is_no_epsilon():
    """upstream: frozen-bn-no-epsilon"""
    # A variance of 1e-6 divides by 1e-3, not by sqrt(1e-6 + eps).
    module = FrozenBatchNorm2d(1)
    module.running_var.fill_(1e-6)
    assert module(torch.ones(1, 1, 1, 1)).item() == pytest.approx(1e3, rel=1e-5)


def test_state_is_four_buffers_and_nothing_learns():
    module = FrozenBatchNorm2d(3)
    assert list(module.state_dict()) == list(BUFFERS)
    assert all(buffer.shape == (3,) for buffer in module.buffers())
    assert not list(module.parameters())


def test_loads_a_live_batch_norm():
    live = torch.nn.BatchNorm2d(3, eps=1e-12)
    live.running_mean.normal_()
    live.running_var.uniform_(0.5, 2)
    frozen = FrozenBatchNorm2d(3)
    state = live.state_dict()
    frozen.load_state_dict(state)
    assert "num_batches_tracked" in state
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(frozen(x), live.eval()(x))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (0, 3, 4, 5), (1, 3, 1, 1)])
def test_gradient_is_the_scale(shape):
    module = FrozenBatchNorm2d(3)
    module.weight.copy_(torch.tensor([1.0, 2.0, 4.0]))
    module.running_var.fill_(4.0)
    x = torch.randn(shape, requires_grad=True)
    module(x).sum().backward()
    expected = torch.tensor([0.5, 1.0, 2.0])[:, None, None].expand(shape)
    torch.testing.assert_close(x.grad, expected)


def test_keeps_half_precision():
    assert FrozenBatchNorm2d(2)(torch.ones(1, 2, 3, 3).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_keeps_the_memory_layout(layout):
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=layout)
    assert FrozenBatchNorm2d(3)(x).stride() == x.stride()
