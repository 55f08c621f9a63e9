import pytest
import torch

from maskrcnn_benchmark.layers import smooth_l1_loss
from tests.golden_data import golden_npz


def test_quadratic_near_linear_far_by_hand():
    input, target = torch.tensor([0.5, 3.0]), torch.zeros(2)
    # beta 1: 0.5 * 0.25 and 3 - 0.5.
    assert smooth_l1_loss(input, target, beta=1.0, size_average=False).item() == 2.625
    assert smooth_l1_loss(input, target, beta=1.0).item() == 1.3125


@pytest.mark.golden
def test_same_losses_as_the_original():
    golden = {k: torch.from_numpy(v) for k, v in golden_npz("ops").items() if "sl1" in k}
    input, target = golden["sl1_input"], golden["sl1_target"]
    torch.testing.assert_close(smooth_l1_loss(input, target), golden["sl1_mean"])
    total = smooth_l1_loss(input, target, beta=0.11, size_average=False)
    torch.testing.assert_close(total, golden["sl1_sum_0.11"])


def test_gradcheck():
    input = torch.linspace(-2, 2, 9, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: smooth_l1_loss(x, torch.zeros_like(x)), input)


def test_zero_beta_is_the_absolute_distance():
    input = torch.tensor([0.0, -2.0], requires_grad=True)
    loss = smooth_l1_loss(input, torch.zeros(2), beta=0.0)
    loss.backward()
    assert loss.item() == 1.0
    assert input.grad.tolist() == [0.0, -0.5]


def test_mean_of_nothing_is_zero():
    input = torch.zeros(0, 4, requires_grad=True)
    loss = smooth_l1_loss(input, torch.zeros(0, 4))
    loss.backward()
    assert loss.item() == 0
