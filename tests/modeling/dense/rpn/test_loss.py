import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.dense.rpn.loss import RPNLoss
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
# One map of 1 x 4 cells of 8 px, an anchor each, and a coarser one of a single cell.
FINE = torch.tensor([[8.0 * i, 0, 8.0 * i + 7, 7] for i in range(4)])
COARSE = torch.tensor([[0.0, 0, 15, 15]])
IMAGE_HW = (16, 32)


def make_loss(batch_size=256, straddle_thresh=0, **rules):
    return RPNLoss(
        matcher=Matcher(0.7, 0.3, allow_low_quality_matches=True),
        sampler=BalancedPositiveNegativeSampler(batch_size, 0.5),
        coder=CODER,
        straddle_thresh=straddle_thresh,
        **rules,
    )


def make_outputs(num_images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(num_images, channels, 1, width, generator=generator).requires_grad_()
        for channels in (1, 4)
        for width in (4, 1)
    ]
    return RPNOutputs(maps[:2], maps[2:])


def make_target(boxes, image_hw=IMAGE_HW):
    return BoxList(torch.tensor(boxes).reshape(-1, 4), (image_hw[1], image_hw[0]))


def run(loss, outputs, targets):
    return loss(outputs, [FINE, COARSE], targets)


def test_all_anchors_by_hand():
    outputs = make_outputs(1)
    # Anchor 1 is the box itself, the others overlap too little: IoU with the coarse one is 0.25.
    losses = run(make_loss(), outputs, [make_target([[8.0, 0, 15, 7]])])
    logits = torch.cat([level.flatten() for level in outputs.logits])
    labels = torch.tensor([0.0, 1, 0, 0, 0])
    assert_close(losses["loss_objectness"], F.binary_cross_entropy_with_logits(logits, labels))
    predicted = outputs.deltas[0][0, :, 0, 1]  # its true codes are zeros
    expected = sum(
        0.5 * d * d * 9 if abs(d) < 1 / 9 else abs(d) - 0.5 / 9 for d in predicted.tolist()
    )
    assert losses["loss_rpn_box_reg"].item() == pytest.approx(expected / 5, rel=1e-5)


def test_codes_lead_from_the_anchor_to_its_box():
    outputs = make_outputs(1)
    box = [9.0, 1, 16, 6]
    losses = run(make_loss(), outputs, [make_target([box])])
    codes = torch.tensor([1 / 8, 0, 0, math.log(6 / 8)])
    beta = 1 / 9
    expected = F.smooth_l1_loss(outputs.deltas[0][0, :, 0, 1], codes, beta=beta, reduction="sum")
    assert_close(losses["loss_rpn_box_reg"], expected / 5)


def test_anchors_between_the_thresholds_do_not_count():
    outputs = make_outputs(1)
    target = make_target([[0.0, 0, 7, 10]])  # IoU 8/11 with anchor 0, 88/256 with the coarse one
    run(make_loss(), outputs, [target])["loss_objectness"].backward()
    assert outputs.logits[1].grad.item() == 0
    assert (outputs.logits[0].grad != 0).all()


def test_the_best_anchors_of_a_box_are_positive_whatever_their_overlap():
    outputs = make_outputs(1)
    # IoU 0.5 with anchors 0 and 1 and with the coarse one: nothing better, so all three.
    losses = run(make_loss(), outputs, [make_target([[0.0, 0, 15, 7]])])
    losses["loss_objectness"].backward()
    assert (outputs.logits[0].grad.flatten() < 0).tolist() == [True, True, False, False]
    assert outputs.logits[1].grad.item() < 0


def test_anchors_that_stick_out_do_not_count():
    target = make_target([[8.0, 0, 15, 7]], (15, 24))
    outputs = make_outputs(1)
    loss = make_loss()
    loss(outputs, [FINE, COARSE], [target])["loss_objectness"].backward()
    assert (outputs.logits[0].grad.flatten() != 0).tolist() == [True, True, True, False]
    assert outputs.logits[1].grad.item() == 0
    outputs = make_outputs(1)
    losses = make_loss(straddle_thresh=-1)(outputs, [FINE, COARSE], [target])
    losses["loss_objectness"].backward()
    assert (outputs.logits[0].grad != 0).all()


def test_the_sample_is_limited():
    outputs = make_outputs(1)
    run(make_loss(batch_size=2), outputs, [make_target([[8.0, 0, 15, 7]])])[
        "loss_objectness"
    ].backward()
    assert sum(int((level.grad != 0).sum()) for level in outputs.logits) == 2
    assert outputs.logits[0].grad[0, 0, 0, 1] != 0  # the only positive


def test_two_images_are_the_mean_of_single_ones():
    outputs = make_outputs(2)
    targets = [make_target([[8.0, 0, 15, 7]]), make_target([[0.0, 0, 15, 15], [1.0, 1, 7, 7]])]
    both = run(make_loss(), outputs, targets)
    singles = [
        run(
            make_loss(),
            RPNOutputs(*([level[i : i + 1] for level in part] for part in outputs)),
            targets[i : i + 1],
        )
        for i in range(2)
    ]
    for name, value in both.items():
        assert_close(value, (singles[0][name] + singles[1][name]) / 2)


def test_an_image_without_objects_is_all_negative():
    outputs = make_outputs(2)
    losses = run(make_loss(), outputs, [make_target([]), make_target([])])
    assert losses["loss_rpn_box_reg"].item() == 0
    sum(losses.values()).backward()
    assert all((level.grad > 0).all() for level in outputs.logits)
    assert all(level.grad.abs().sum() == 0 for level in outputs.deltas)


def test_nothing_sampled_gives_zeros_with_gradients():
    outputs = make_outputs(1)
    losses = make_loss()(outputs, [FINE, COARSE], [make_target([], (1, 1))])
    assert [value.item() for value in losses.values()] == [0, 0]
    sum(losses.values()).backward()
    assert all(level.grad is not None for part in outputs for level in part)


def test_no_images():
    losses = run(make_loss(), make_outputs(0), [])
    assert [value.item() for value in losses.values()] == [0, 0]


def test_other_rules_divide_by_the_anchors_wanted_and_have_no_quadratic_part():
    outputs = make_outputs(1)
    target = make_target([[8.0, 0, 15, 7]])
    losses = run(make_loss(beta=0.0, num_wanted=256), outputs, [target])
    logits = torch.cat([level.flatten() for level in outputs.logits])
    labels = torch.tensor([0.0, 1, 0, 0, 0])
    total = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    assert_close(losses["loss_objectness"], total / 256)
    assert_close(losses["loss_rpn_box_reg"], outputs.deltas[0][0, :, 0, 1].abs().sum() / 256)
