import math

import pytest
import torch

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.box_head.loss import (
    BoxTargetAssigner,
    BoxTargets,
    box_losses,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.factories import random_boxlist

SIZE_WH = (100, 80)
CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))


def make_assigner(high=0.5, low=0.5, batch_size=512, fraction=0.25):
    return BoxTargetAssigner(
        matcher=Matcher(high, low),
        sampler=BalancedPositiveNegativeSampler(batch_size, fraction),
        box_coder=CODER,
    )


def boxlist(boxes, labels=None):
    made = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)
    if labels is not None:
        made.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    return made


def test_labels_and_offsets_of_matched_proposals():
    target = boxlist([[0, 0, 9, 9], [40, 40, 59, 79]], [7, 3])
    # One pixel to the right of the second truth; far away; exactly the first truth.
    proposals = boxlist([[41, 40, 60, 79], [70, 0, 90, 20], [0, 0, 9, 9]])
    result = make_assigner()([proposals], [target])
    assert result.labels.tolist() == [3, 0, 7]
    assert torch.equal(result.proposals[0].bbox, proposals.bbox)
    assert torch.equal(result.proposals[0].labels, result.labels)
    expected = torch.tensor([-1 / 20 * 10, 0, 0, 0])
    torch.testing.assert_close(result.box_codes[0], expected)
    assert not result.box_codes[2].any()


def test_proposals_between_the_thresholds_are_never_drawn():
    target = boxlist([[0, 0, 9, 9]], [1])
    proposals = boxlist([[0, 0, 9, 9], [0, 0, 9, 19], [0, 0, 9, 49]])  # IoU 1, 0.5, 0.2
    result = make_assigner(high=0.6, low=0.4, fraction=1.0)([proposals], [target])
    assert result.labels.tolist() == [1, 0]
    assert result.proposals[0].bbox[:, 3].tolist() == [9, 49]


def test_sample_has_the_asked_size_and_share_of_positives():
    target = boxlist([[0, 0, 49, 49]], [2])
    proposals = boxlist([[0, 0, 49, 49]] * 30 + [[60, 60, 80, 79]] * 30)
    result = make_assigner(batch_size=20)([proposals], [target])
    assert len(result.labels) == 20
    assert (result.labels == 2).sum() == 5


def test_images_without_truth_or_proposals():
    targets = [boxlist([], []), boxlist([[0, 0, 9, 9]], [1])]
    result = make_assigner()([boxlist([[0, 0, 9, 9]]), boxlist([])], targets)
    assert [len(boxes) for boxes in result.proposals] == [1, 0]
    assert result.labels.tolist() == [0]
    assert result.box_codes.shape == (1, 4)


def test_a_batch_of_two_is_the_two_images_one_after_the_other():
    targets = [random_boxlist(3, SIZE_WH, seed=1), random_boxlist(2, SIZE_WH, seed=2)]
    proposals = [random_boxlist(9, SIZE_WH, seed=3), random_boxlist(7, SIZE_WH, seed=4)]
    assigner = make_assigner(fraction=1.0)
    both = assigner(proposals, targets)
    singles = [assigner([p], [t]) for p, t in zip(proposals, targets, strict=True)]
    assert torch.equal(both.labels, torch.cat([single.labels for single in singles]))
    assert torch.equal(both.box_codes, torch.cat([single.box_codes for single in singles]))


def make_targets(labels, codes):
    boxes = boxlist([[0, 0, 9, 9]] * len(labels), labels)
    return BoxTargets([boxes], boxes.labels, torch.tensor(codes).reshape(-1, 4))


@pytest.mark.parametrize("agnostic", [False, True])
def test_losses_by_hand(agnostic):
    # Three classes with background; the positive is of class 2.
    logits = torch.tensor([[0.0, 0.0, math.log(2)], [math.log(6), 0.0, 0.0]])
    regression = torch.zeros(2, 8 if agnostic else 12)
    first = 4 if agnostic else 8
    regression[0, first : first + 4] = torch.tensor([0.5, 3.0, 0.0, -1.0])
    regression[1] = 100  # background: of no account
    losses = box_losses(logits, regression, make_targets([2, 0], [[0.0] * 4] * 2))
    # -log(2 / 4) and -log(6 / 8); 0.5 * 0.25, 3 - 0.5, 0 and 1 - 0.5: over two rois
    assert losses["loss_classifier"].item() == pytest.approx((math.log(2) + math.log(8 / 6)) / 2)
    assert losses["loss_box_reg"].item() == pytest.approx((0.125 + 2.5 + 0.5) / 2)


@pytest.mark.parametrize(("beta", "expected"), [(0.0, 4.5), (1 / 9, 4.5 - 3 / 18)])
def test_the_quadratic_part_has_the_width_that_is_asked_for(beta, expected):
    regression = torch.zeros(1, 8)
    regression[0, 4:] = torch.tensor([0.5, 3.0, 0.0, -1.0])
    losses = box_losses(torch.zeros(1, 2), regression, make_targets([1], [[0.0] * 4]), beta=beta)
    assert losses["loss_box_reg"].item() == pytest.approx(expected)


def test_each_class_trains_its_own_offsets():
    regression = torch.zeros(2, 12, requires_grad=True)
    targets = make_targets([1, 2], [[1.0, 0, 0, 0], [0, 0, 0, 1.0]])
    box_losses(torch.zeros(2, 3), regression, targets)["loss_box_reg"].backward()
    assert torch.nonzero(regression.grad).tolist() == [[0, 4], [1, 11]]


@pytest.mark.parametrize("labels", [[], [0, 0]], ids=["no rois", "no positives"])
def test_nothing_to_learn_gives_zeros_with_a_graph(labels):
    logits = torch.zeros(len(labels), 3, requires_grad=True)
    regression = torch.ones(len(labels), 12, requires_grad=True)
    losses = box_losses(logits, regression, make_targets(labels, [[1.0] * 4] * len(labels)))
    assert losses["loss_box_reg"].item() == 0
    if not labels:
        assert losses["loss_classifier"].item() == 0
    sum(losses.values()).backward()
    assert not regression.grad.any()
    assert logits.grad.shape == logits.shape
