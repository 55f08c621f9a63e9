import torch

from maskrcnn_benchmark.layers import Scale


def test_multiplies_by_one_learnable_number():
    module = Scale(3.0)
    x = torch.arange(6.0).view(2, 3)
    output = module(x)
    output.sum().backward()
    assert torch.equal(output, 3 * x)
    assert module.scale.grad.tolist() == [15.0]
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == {"scale": (1,)}


def test_starts_at_one():
    assert Scale()(torch.tensor(7.0)).item() == 7.0
