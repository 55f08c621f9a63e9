import pytest
import torch

from maskrcnn_benchmark.layers import EffectiveSqueezeExcitation, SpatialAttention


def test_weighs_mean_and_peak_by_hand():
    module = SpatialAttention()
    with torch.no_grad():
        module.conv.weight.zero_()
        module.conv.weight[0, :, 1, 1] = torch.tensor([1.0, 10.0])
    x = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    expected = x * torch.sigmoid(torch.tensor(2.0 * 1 + 3.0 * 10))
    torch.testing.assert_close(module(x), expected)


def test_state_is_one_convolution_without_bias():
    shapes = {k: tuple(v.shape) for k, v in SpatialAttention().state_dict().items()}
    assert shapes == {"conv.weight": (1, 2, 3, 3)}


def gates(module):
    """The attention of maps as large as those that the mask head starts with."""
    generator = torch.Generator().manual_seed(0)
    x = 40 * torch.rand(8, 16, 14, 14, generator=generator) ** 4
    return module(x).sum(dim=1) / x.sum(dim=1)


def test_a_small_start_leaves_the_gates_half_open():
    """Bug: those of most seeds were shut at the start, so that the mask head never learnt."""
    means = []
    for seed in range(8):
        torch.manual_seed(seed)
        means.append(gates(SpatialAttention(init_std=0.01)).mean().item())
    assert min(means) > 0.1
    assert max(means) < 0.9


def test_the_published_start_is_the_default():
    torch.manual_seed(0)
    published = torch.nn.Conv2d(2, 1, kernel_size=3, padding=1, bias=False).weight
    torch.manual_seed(0)
    assert torch.equal(SpatialAttention().conv.weight, published)


def test_one_of_equal_peaks_receives_the_gradient():
    module = SpatialAttention()
    with torch.no_grad():
        module.conv.weight.zero_()
        module.conv.weight[0, 1, 1, 1] = 1.0
    x = torch.ones(1, 4, 1, 1, requires_grad=True)
    module(x).sum().backward()
    gate = torch.sigmoid(torch.tensor(1.0))
    through_peak = 4 * gate * (1 - gate)
    torch.testing.assert_close(x.grad.flatten().max(), gate + through_peak)
    torch.testing.assert_close(x.grad.flatten().sort().values[:3], gate.expand(3))


@pytest.mark.parametrize("shape", [(0, 4, 14, 14), (2, 4, 1, 1)])
def test_empty_and_tiny_maps(shape):
    x = torch.zeros(shape, requires_grad=True)
    output = SpatialAttention()(x)
    output.sum().backward()
    assert output.shape == x.grad.shape == shape


def test_gradcheck():
    module = SpatialAttention().double()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, x)


def test_ese_weighs_channels_by_their_means_by_hand():
    module = EffectiveSqueezeExcitation(3)
    with torch.no_grad():
        # The gate of each channel sees the mean of one other channel.
        module.fc.weight.copy_(torch.eye(3).roll(1, dims=1)[..., None, None])
        module.fc.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    means = torch.tensor([-9.0, 1.5, 9.0])
    deviations = torch.tensor([[-1.0, 1.0], [2.0, -2.0]])
    x = (means[:, None, None] + deviations)[None]
    gates = torch.tensor([(1.5 + 3) / 6, 1.0, 0.0])  # of the means 1.5, 9 and -9
    torch.testing.assert_close(module(x), x * gates[:, None, None])


@pytest.mark.parametrize("shape", [(0, 4, 7, 7), (2, 4, 1, 1)])
def test_ese_of_empty_and_tiny_maps(shape):
    x = torch.zeros(shape, requires_grad=True)
    output = EffectiveSqueezeExcitation(4)(x)
    output.sum().backward()
    assert output.shape == x.grad.shape == shape


def test_ese_gradcheck():
    torch.manual_seed(0)
    module = EffectiveSqueezeExcitation(3).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_without_gradients_the_numbers_are_the_same(memory_format):
    module = SpatialAttention()
    x = torch.randn(3, 5, 4, 6).relu().contiguous(memory_format=memory_format)
    x[1, 2, 0, 0] = torch.nan
    with torch.no_grad():
        found = module(x)
    torch.testing.assert_close(found, module(x).detach(), rtol=0, atol=0, equal_nan=True)
