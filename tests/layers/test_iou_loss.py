import math

import pytest
import torch

from maskrcnn_benchmark.layers import IOULoss
from tests.golden_data import golden_npz

KINDS = ["iou", "linear_iou", "giou"]


def test_third_overlap_by_hand():
    # Two 2 x 2 boxes share 1 x 2 px: (2 + 1) / (6 + 1) smoothed; the enclosing 3 x 2 has no gap.
    pred, target = torch.tensor([[1.0, 1, 1, 1]]), torch.tensor([[2.0, 1, 0, 1]])
    iou = 3 / 7
    expected = {"iou": -math.log(iou), "linear_iou": 1 - iou, "giou": 1 - iou}
    for kind in KINDS:
        assert IOULoss(kind)(pred, target).item() == pytest.approx(expected[kind], rel=1e-6)


def test_giou_counts_the_gap_in_the_enclosing_box():
    # 4 x 1 and 1 x 4 around one location share 1 x 1: union 7, enclosing 4 x 4.
    pred, target = torch.tensor([[4.0, 1, 0, 0]]), torch.tensor([[1.0, 4, 0, 0]])
    expected = 1 - 2 / 8 + (16 - 7) / 16
    assert IOULoss("giou")(pred, target).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_boxes_cost_nothing(kind):
    ltrb = torch.rand(10, 4) * 100
    assert IOULoss(kind)(ltrb, ltrb).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", ["w", "mean"])
def test_same_losses_and_gradients_as_the_original(kind, weighted):
    golden = {k: torch.from_numpy(v) for k, v in golden_npz("ops").items() if "iouloss" in k}
    pred = golden["iouloss_pred"].requires_grad_()
    weight = golden["iouloss_weight"] if weighted == "w" else None
    loss = IOULoss(kind)(pred, golden["iouloss_target"], weight)
    loss.backward()
    torch.testing.assert_close(loss, golden[f"iouloss_{kind}_{weighted}"], rtol=1e-5, atol=1e-6)
    grad = golden[f"iouloss_{kind}_{weighted}_grad"]
    torch.testing.assert_close(pred.grad, grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    generator = torch.Generator().manual_seed(0)
    pred = torch.rand(6, 4, generator=generator, dtype=torch.float64) * 50
    target = torch.rand(6, 4, generator=generator, dtype=torch.float64) * 50
    weight = torch.rand(6, generator=generator, dtype=torch.float64)
    loss = IOULoss(kind)
    assert torch.autograd.gradcheck(
        lambda x: loss(x, target, weight), pred.requires_grad_(), eps=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weights_scale_out(kind):
    pred, target, weight = torch.rand(5, 4) * 9, torch.rand(5, 4) * 9, torch.rand(5)
    loss = IOULoss(kind)
    torch.testing.assert_close(loss(pred, target, weight), loss(pred, target, weight * 7))


def test_all_zero_weights_mean_equal_weights():
    """upstream: iou-loss-zero-weights"""
    pred = (torch.rand(5, 4) * 9).requires_grad_()
    target = torch.rand(5, 4) * 9
    loss = IOULoss("iou")(pred, target, torch.zeros(5))
    torch.testing.assert_close(loss, IOULoss("iou")(pred, target))
    loss.backward()
    assert pred.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [None, torch.zeros(0)])
def test_no_locations_cost_zero_and_keep_the_graph(kind, weight):
    pred = torch.zeros(0, 4, requires_grad=True)
    loss = IOULoss(kind)(pred, torch.zeros(0, 4), weight)
    loss.backward()
    assert loss.item() == 0
    assert pred.grad.shape == (0, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_sides_stay_finite(kind):
    pred = torch.tensor([[0.0] * 4, [1e-30] * 4, [1e9] * 4, [1e9, 0, 1e9, 0]], requires_grad=True)
    target = torch.tensor([[1e3] * 4, [0.0] * 4, [1.0] * 4, [0.0, 1e9, 0, 1e9]])
    loss = IOULoss(kind)(pred, target, torch.ones(4))
    loss.backward()
    assert loss.isfinite()
    assert pred.grad.isfinite().all()


def test_half_precision_areas_do_not_overflow():
    pred = torch.full((1, 4), 500.0).half()
    loss = IOULoss("iou")(pred, pred * 2, torch.ones(1).half())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(4), rel=1e-4)


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"linear_iou.*'diou'"):
        IOULoss("diou")
