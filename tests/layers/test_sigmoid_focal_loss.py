import math

import pytest
import torch

from maskrcnn_benchmark.layers import SigmoidFocalLoss, ops_status, sigmoid_focal_loss
from tests.golden_data import golden_npz
from tests.layers import oracles
from tests.layers.inputs import implementations

FORWARDS = implementations("sigmoid_focal_loss")
BACKWARDS = implementations("sigmoid_focal_loss_backward")


def random_case(num_locations=40, num_classes=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(num_locations)
    logits = torch.randn(num_locations, num_classes, generator=generator, dtype=dtype) * 4
    targets = torch.randint(-1, num_classes + 1, (num_locations,), generator=generator)
    return logits, targets


def test_even_odds_by_hand():
    # p = 1/2 everywhere: (1/2)^2 log 2, weighted 1/4 at the target class and 3/4 elsewhere.
    loss = sigmoid_focal_loss(torch.zeros(1, 3), torch.tensor([2]), 2.0, 0.25)
    unit = math.log(2) / 4
    torch.testing.assert_close(loss, torch.tensor([[0.75, 0.25, 0.75]]) * unit)


def test_background_is_negative_everywhere_and_ignored_counts_nothing():
    loss = sigmoid_focal_loss(torch.zeros(2, 2), torch.tensor([0, -1]), 0.0, 0.25)
    torch.testing.assert_close(loss, torch.tensor([[0.75, 0.75], [0.0, 0.0]]) * math.log(2))


@pytest.mark.golden
def test_same_losses_and_gradients_as_the_original():
    golden = {k: torch.from_numpy(v) for k, v in golden_npz("ops").items() if "focal" in k}
    logits, targets = golden["focal_logits"].requires_grad_(), golden["focal_targets"]
    total = SigmoidFocalLoss(2.0, 0.25)(logits, targets)
    total.backward()
    tolerance = {"rtol": 1e-5, "atol": 2e-6}
    torch.testing.assert_close(total, golden["focal_sum"], **tolerance)
    torch.testing.assert_close(logits.grad, golden["focal_grad"], **tolerance)
    for gamma, alpha, key in ((2.0, 0.25, "focal_elem"), (1.5, 0.4, "focal_elem_g1.5_a0.4")):
        loss = sigmoid_focal_loss(logits, targets, gamma, alpha)
        torch.testing.assert_close(loss, golden[key], **tolerance)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_agrees_with_the_definition(gamma):
    logits, targets = random_case()
    expected = oracles.focal_loss(logits, targets, gamma, 0.3)
    for forward in FORWARDS.values():
        torch.testing.assert_close(forward(logits, targets, gamma, 0.3), expected)


@pytest.mark.parametrize("num_classes", [1, 3, 80])
@pytest.mark.parametrize("gamma", [0.0, 2.0, 2.5])
def test_float32_is_accurate_to_a_few_units_in_the_last_place(num_classes, gamma):
    logits, targets = random_case(500, num_classes)
    logits = logits.float()
    exact = FORWARDS["reference"](logits.double(), targets, gamma, 0.25)
    loss = FORWARDS["dispatched"](logits, targets, gamma, 0.25)
    torch.testing.assert_close(loss.double(), exact, rtol=5e-6, atol=1e-30)
    grad = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0))
    exact = BACKWARDS["reference"](grad.double(), logits.double(), targets, gamma, 0.25)
    slope = BACKWARDS["dispatched"](grad, logits, targets, gamma, 0.25)
    torch.testing.assert_close(slope.double(), exact, rtol=5e-6, atol=1e-30)


@pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
def test_huge_logits_stay_finite(forward):
    logits = torch.tensor([[1e4, -1e4, 80.0, -80.0, 3e38, -3e38]], requires_grad=True)
    for target in range(-1, 7):
        loss = forward(logits, torch.tensor([target]), 2.0, 0.25)
        (grad,) = torch.autograd.grad(loss.clamp(max=1e30).sum(), logits)
        assert loss.isfinite().all()
        assert grad.isfinite().all()
    # A confident mistake costs its logit; a confident truth costs nothing.
    loss = forward(logits, torch.tensor([2]), 2.0, 0.25)
    torch.testing.assert_close(loss[0, :2], torch.tensor([0.75e4, 0.25e4]))


@pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_nan_is_not_hidden(forward, gamma):
    logits = torch.zeros(2, 2)
    logits[:, 1] = float("nan")
    loss = forward(logits, torch.tensor([1, 2]), gamma, 0.25)
    assert loss.isnan().tolist() == [[False, True], [False, True]]
    ignored = forward(logits, torch.tensor([-1, -1]), gamma, 0.25)
    assert torch.equal(ignored, torch.zeros(2, 2))


def test_gradcheck():
    logits, targets = random_case(6, 3)
    logits.requires_grad_()
    for gamma in (0.0, 2.0):
        assert torch.autograd.gradcheck(
            lambda x, g=gamma: sigmoid_focal_loss(x, targets, g, 0.25), logits
        )


def test_gradient_of_a_sum_equals_gradient_of_ones():
    logits, targets = random_case(dtype=torch.float32)
    backward = BACKWARDS["dispatched"]
    expanded = torch.tensor(0.5).expand(logits.shape)
    expected = backward(torch.full(logits.shape, 0.5), logits, targets, 2.0, 0.25)
    torch.testing.assert_close(backward(expanded, logits, targets, 2.0, 0.25), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 2.0, 2.5])
@pytest.mark.parametrize("num_classes", [1, 7, 80, 3000])
def test_sum_and_its_gradient_in_one_pass(num_classes, gamma, dtype):
    logits, targets = random_case(90, num_classes, dtype)
    total, slopes = torch.ops.centermask.sigmoid_focal_loss_sum(logits, targets, gamma, 0.3)
    ones = torch.ones_like(logits)
    exact = FORWARDS["reference"](logits.double(), targets, gamma, 0.3).sum()
    expected = BACKWARDS["reference"](ones.double(), logits.double(), targets, gamma, 0.3)
    torch.testing.assert_close(total.double(), exact, rtol=2e-6, atol=0)
    torch.testing.assert_close(slopes.double(), expected, rtol=5e-6, atol=1e-30)
    assert slopes[targets < 0].eq(0).all()


def test_gradient_of_the_sum():
    logits, targets = random_case(6, 3)
    logits.requires_grad_()
    for gamma in (0.0, 2.0, 2.5):
        loss = SigmoidFocalLoss(gamma, 0.25)
        assert torch.autograd.gradcheck(lambda x, f=loss: 3 * f(x, targets), logits)


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
def test_sum_does_not_depend_on_threads():
    logits, targets = random_case(4000, 30, torch.float32)
    threads, totals = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            totals.append(SigmoidFocalLoss(2.0, 0.25)(logits, targets).item())
    finally:
        torch.set_num_threads(threads)
    assert len(set(totals)) == 1


def test_second_derivative_of_the_sum_is_refused():
    logits, targets = random_case(4, 2)
    loss = SigmoidFocalLoss(2.0, 0.25)(logits.requires_grad_(), targets)
    (grad,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        grad.sum().backward()


def test_second_derivative_is_refused():
    logits, targets = random_case(4, 2)
    loss = sigmoid_focal_loss(logits.requires_grad_(), targets, 2.0, 0.25).sum()
    (grad,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize("shape", [(0, 7), (3, 0)])
def test_empty_inputs(shape):
    logits = torch.zeros(shape, requires_grad=True)
    loss = SigmoidFocalLoss(2.0, 0.25)(logits, torch.zeros(shape[0], dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == shape


def test_non_contiguous_int32_and_half_precision_inputs():
    logits, targets = random_case(dtype=torch.float32)
    expected = sigmoid_focal_loss(logits, targets, 2.0, 0.25)
    slanted = logits.t().contiguous().t()
    every_other = torch.stack((targets, targets), dim=1)[:, 0]
    assert torch.equal(sigmoid_focal_loss(slanted, every_other, 2.0, 0.25), expected)
    assert torch.equal(sigmoid_focal_loss(logits, targets.int(), 2.0, 0.25), expected)
    rough = sigmoid_focal_loss(logits.bfloat16(), targets, 2.0, 0.25)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), expected, rtol=0.1, atol=0.05)


def test_half_precision_sum_does_not_overflow():
    loss = SigmoidFocalLoss(2.0, 0.25)(torch.full((1000, 10), 30.0).half(), torch.zeros(1000).int())
    assert loss.item() == pytest.approx(0.75 * 30 * 1e4, rel=1e-4)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (torch.zeros(3), torch.zeros(3).long(), r"logits: .*\(L, C\), got \(3,\)"),
        (torch.zeros(3, 2), torch.zeros(4).long(), r"targets: .*\(3,\).*got \(4,\)"),
        (torch.zeros(3, 2), torch.zeros(3), r"targets: .*got torch\.float32"),
    ],
)
def test_wrong_inputs_are_named(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        sigmoid_focal_loss(logits, targets, 2.0, 0.25)


@pytest.mark.parametrize("target", [-2, 3])
def test_class_out_of_range_is_refused(target):
    with pytest.raises((RuntimeError, ValueError), match=rf"targets: .*got {target}"):
        sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([target]), 2.0, 0.25)
