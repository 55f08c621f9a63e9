import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.layers import SelfAdjustingSmoothL1Loss, smooth_l1_loss


def test_the_start_is_smooth_l1_with_the_largest_width():
    loss = SelfAdjustingSmoothL1Loss(4, beta=0.5).eval()
    input, target = torch.randn(2, 7, 4).unbind()
    assert_close(loss(input, target), smooth_l1_loss(input, target, 0.5, size_average=False))
    assert loss.running_mean.tolist() == [0.5] * 4
    assert loss.running_var.tolist() == [0] * 4


def test_two_batches_by_hand():
    loss = SelfAdjustingSmoothL1Loss(2, beta=0.5)
    # Errors 0.1 and 0.3 in the first coordinate: mean 0.2, variance 0.02; 2 and 4 in the second:
    # mean 3, variance 2.
    input = torch.tensor([[0.1, 2.0], [-0.3, 4.0]])
    value = loss(input, torch.zeros(2, 2))
    assert_close(loss.running_mean, torch.tensor([0.47, 0.75]))
    assert_close(loss.running_var, torch.tensor([0.002, 0.2]))
    # Widths 0.47 - 0.002 and 0.75 - 0.2, of which 0.5 is left.
    first = (0.5 * 0.1**2 + 0.5 * 0.3**2) / 0.468
    second = (2 - 0.25) + (4 - 0.25)
    assert value.item() == pytest.approx(first + second, rel=1e-5)
    loss(input, torch.zeros(2, 2))
    assert_close(loss.running_mean, torch.tensor([0.443, 0.975]))
    assert_close(loss.running_var, torch.tensor([0.0038, 0.38]))


def test_the_width_has_a_lower_end():
    loss = SelfAdjustingSmoothL1Loss(1, beta=0.5).eval()
    loss.running_mean.fill_(0.1)
    loss.running_var.fill_(0.7)
    assert loss(torch.tensor([[0.25]]), torch.zeros(1, 1)).item() == pytest.approx(0.25 - 0.0005)


@pytest.mark.parametrize(
    "input", [torch.zeros(0, 4), torch.ones(1, 4), torch.full((3, 4), float("nan"))]
)
def test_a_batch_without_a_variance_changes_nothing(input):
    loss = SelfAdjustingSmoothL1Loss(4, beta=0.5)
    loss(input, torch.zeros_like(input))
    assert loss.running_mean.tolist() == [0.5] * 4
    assert loss.running_var.tolist() == [0] * 4


def test_evaluation_changes_nothing():
    loss = SelfAdjustingSmoothL1Loss(4).eval()
    loss(torch.randn(5, 4), torch.zeros(5, 4))
    assert loss.running_var.tolist() == [0] * 4


def test_the_running_numbers_are_in_checkpoints():
    assert list(SelfAdjustingSmoothL1Loss(4).state_dict()) == ["running_mean", "running_var"]


def test_gradients():
    loss = SelfAdjustingSmoothL1Loss(4, beta=0.3).double().eval()
    input = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, torch.zeros_like(x)), input)
    empty = torch.zeros(0, 4, requires_grad=True)
    loss(empty, torch.zeros(0, 4)).backward()
    assert empty.grad.shape == (0, 4)
