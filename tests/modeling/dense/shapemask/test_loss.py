import pytest
import torch

from maskrcnn_benchmark.modeling.dense.shapemask.head import ShapeMaskOutputs
from maskrcnn_benchmark.modeling.dense.shapemask.loss import (
    ShapeMaskLoss,
    box_code_loss,
    match_anchors,
)
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [20, 20, 30, 30], [50, 50, 60, 60]])


def matches(boxes):
    found = match_anchors(ANCHORS, torch.tensor(boxes).view(-1, 4), 0.5)
    return dict(zip(found.anchors.tolist(), found.objects.tolist(), strict=True))


def test_every_object_has_its_best_anchor_and_others_from_one_half_on():
    assert matches([[0.0, 0, 10, 10]]) == {0: 0, 1: 0}
    assert matches([[0.0, 0, 10, 20], [22, 22, 44, 44]]) == {0: 0, 2: 1}


def test_objects_that_overlap_nothing_and_objects_of_one_anchor():
    """upstream: forced-anchors"""
    assert matches([[200.0, 200, 210, 210]]) == {0: 0}
    assert matches([[20.0, 20, 30, 30], [20, 20, 30, 30]]) == {2: 0}
    assert matches([]) == {}
    assert len(match_anchors(torch.zeros(0, 4), ANCHORS, 0.5).anchors) == 0


def test_box_loss_is_huber_without_entries_that_need_no_code():
    """upstream: zero-codes"""
    codes = torch.tensor([[0.1, 0.5, 7.0, 1.0]], requires_grad=True)
    loss = box_code_loss(codes, torch.tensor([[0.2, 0.1, 0.0, -1.0]]), 0.15)
    expected = 0.5 * 0.1**2 + (0.15 * 0.4 - 0.15**2 / 2) + (0.15 * 2 - 0.15**2 / 2)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert codes.grad[0, 2] == 0


def make_outputs(num_images):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num_images, 4 * 3, 1, 1, generator=generator).requires_grad_(True)
    codes = torch.randn(num_images, 4 * 4, 1, 1, generator=generator).requires_grad_(True)
    return ShapeMaskOutputs([logits], [codes])


def make_target(boxes, labels):
    target = BoxList(torch.tensor(boxes).view(-1, 4), (64, 64), pixel_offset=0)
    return target.with_field("labels", torch.tensor(labels, dtype=torch.int64))


def test_losses_by_hand():
    outputs = make_outputs(2)
    settings = ShapeMaskSettings()
    targets = [make_target([[0.0, 0, 9, 8]], [2]), make_target([], [])]
    losses = ShapeMaskLoss(settings=settings, num_classes=3)(outputs, [ANCHORS], targets)
    probs = outputs.logits[0].detach().view(2, 4, 3).sigmoid()
    truth = torch.zeros(2, 4, 3)
    truth[0, :2, 2] = 1
    pt = torch.where(truth > 0, probs, 1 - probs)
    alpha = torch.where(truth > 0, 0.4, 0.6)
    expected = (-alpha * (1 - pt) ** 1.5 * pt.log()).sum() / 3
    torch.testing.assert_close(losses["loss_cls"], expected)
    assert losses["loss_box"] > 0
    sum(losses.values()).backward()
    assert outputs.codes[0].grad[0].view(4, 4).any(dim=1).tolist() == [True, True, False, False]
    assert not outputs.codes[0].grad[1].any()


def test_without_objects_everything_is_background():
    outputs = make_outputs(1)
    loss = ShapeMaskLoss(settings=ShapeMaskSettings(), num_classes=3)
    losses = loss(outputs, [ANCHORS], [make_target([], [])])
    assert losses["loss_box"] == 0
    sum(losses.values()).backward()
    assert outputs.logits[0].grad.isfinite().all()
    assert not outputs.codes[0].grad.any()
