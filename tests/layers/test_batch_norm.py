import pytest
import torch
from torch import nn

from maskrcnn_benchmark.layers import FrozenBatchNorm2d, NormSequential, conv_norm
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


def random_norm(channels):
    norm = FrozenBatchNorm2d(channels).double()
    generator = torch.Generator().manual_seed(1)
    for name, buffer in norm.named_buffers():
        low = 0.5 if name == "running_var" else -1.0
        buffer.uniform_(low, 2, generator=generator)
    return norm


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("num_images", [0, 2])
def test_a_folded_norm_is_the_norm_behind_the_convolution(groups, bias, num_images):
    """In double precision, where rounding does not show; gradients too."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, bias=bias).double()
    norm, x = random_norm(6), torch.randn(num_images, 4, 5, 7, dtype=torch.float64)
    found = []
    for may_fold in (False, True):
        norm.may_fold = may_fold
        own = x.clone().requires_grad_()
        y = conv_norm(conv, norm, own)
        weight = torch.arange(y.numel(), dtype=y.dtype).view_as(y)
        gradients = torch.autograd.grad((y * weight).sum(), [own, *conv.parameters()])
        found.append([y, *gradients])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-9)


def test_nothing_is_folded_in_evaluation_nor_into_other_convolutions():
    torch.manual_seed(0)
    norm, x = random_norm(3).float(), torch.randn(1, 3, 4, 4)
    norm.may_fold = True

    class Halved(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) / 2

    other, plain = Halved(3, 3, 1), nn.Conv2d(3, 3, 1)
    assert torch.equal(conv_norm(other, norm, x), norm(other(x)))
    norm.eval()
    assert torch.equal(conv_norm(plain, norm, x), norm(plain(x)))


def test_a_sequence_folds_what_follows_a_convolution():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), random_norm(3), nn.ReLU(), nn.Conv2d(3, 3, 1), random_norm(3)]
    sequence, x = NormSequential(*layers).double(), torch.randn(2, 2, 5, 5).double()
    expected = nn.Sequential(*layers)(x)
    assert torch.equal(sequence(x), expected)
    for norm in (layers[1], layers[4]):
        norm.may_fold = True
    torch.testing.assert_close(sequence(x), expected, rtol=1e-12, atol=1e-12)
    assert list(sequence.state_dict()) == list(nn.Sequential(*layers).state_dict())
