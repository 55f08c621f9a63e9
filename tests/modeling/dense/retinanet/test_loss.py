import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.layers import (
    SelfAdjustingSmoothL1Loss,
    SigmoidFocalLoss,
    smooth_l1_loss,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetOutputs
from maskrcnn_benchmark.modeling.dense.retinanet.loss import RetinaNetLoss
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList

NUM_FOREGROUND = 2
# One map of 1 x 4 cells of 8 px, an anchor each, and a coarser one of a single cell.
FINE = torch.tensor([[8.0 * i, 0, 8.0 * i + 7, 7] for i in range(4)])
COARSE = torch.tensor([[0.0, 0, 15, 15]])


def make_loss(box_loss=None, **matching):
    return RetinaNetLoss(
        matcher=Matcher(0.5, 0.4, **{"allow_low_quality_matches": True} | matching),
        coder=BoxCoder((10.0, 10.0, 5.0, 5.0)),
        focal_loss=SigmoidFocalLoss(2.0, 0.25),
        box_loss=box_loss or partial(smooth_l1_loss, beta=0.11, size_average=False),
        box_divisor=4.0,
        num_foreground=NUM_FOREGROUND,
    )


def make_outputs(num_images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(num_images, channels, 1, width, generator=generator).requires_grad_()
        for channels in (NUM_FOREGROUND, 4)
        for width in (4, 1)
    ]
    return RetinaNetOutputs(maps[:2], maps[2:])


def make_target(boxes, labels=()):
    target = BoxList(torch.tensor(boxes).reshape(-1, 4), (32, 16))
    target.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    return target


def run(loss, outputs, targets):
    return loss(outputs, [FINE, COARSE], targets)


def focal(logit, is_positive):
    p = 1 / (1 + math.exp(-logit))
    if is_positive:
        return -0.25 * (1 - p) ** 2 * math.log(p)
    return -0.75 * p**2 * math.log(1 - p)


def test_one_positive_anchor_by_hand():
    outputs = make_outputs(1)
    losses = run(make_loss(), outputs, [make_target([[8.0, 0, 15, 7]], [2])])
    total = 0.0
    for level, logits in enumerate(outputs.logits):
        for c in range(NUM_FOREGROUND):
            for x in range(logits.shape[3]):
                total += focal(logits[0, c, 0, x].item(), (level, c, x) == (0, 1, 1))
    assert losses["loss_retina_cls"].item() == pytest.approx(total / 2, rel=1e-5)
    errors = outputs.deltas[0][0, :, 0, 1].abs().tolist()
    expected = sum(0.5 * e * e / 0.11 if e < 0.11 else e - 0.055 for e in errors)
    assert losses["loss_retina_reg"].item() == pytest.approx(expected / 4, rel=1e-5)


def test_anchors_between_the_thresholds_do_not_count():
    outputs = make_outputs(1)
    # IoU 8/11 with anchor 0; 88/196 = 0.45 with the coarse one, if it is 14 px wide and high.
    anchors = [FINE, torch.tensor([[0.0, 0, 13, 13]])]
    losses = make_loss()(outputs, anchors, [make_target([[0.0, 0, 7, 10]], [1])])
    losses["loss_retina_cls"].backward()
    assert outputs.logits[1].grad.abs().sum() == 0
    assert (outputs.logits[0].grad != 0).all()


def test_low_quality_matches_can_be_switched_off_or_limited():
    target = make_target([[8.0, 0, 10, 7]], [1])  # IoU 3/8 with anchor 1
    for matching, is_positive in [
        ({}, True),
        ({"allow_low_quality_matches": False}, False),
        ({"low_quality_threshold": 0.37}, True),
        ({"low_quality_threshold": 0.38}, False),
    ]:
        losses = run(make_loss(**matching), make_outputs(1), [target])
        assert (losses["loss_retina_reg"].item() > 0) == is_positive


def test_the_sums_of_two_images_are_those_of_single_ones():
    outputs = make_outputs(2)
    targets = [make_target([[8.0, 0, 15, 7]], [1]), make_target([[0.0, 0, 15, 15]], [2])]
    both = run(make_loss(), outputs, targets)
    singles = [
        run(
            make_loss(),
            RetinaNetOutputs(*([level[i : i + 1] for level in part] for part in outputs)),
            targets[i : i + 1],
        )
        for i in range(2)
    ]
    # One positive each, so that all divisors are twice those of a single image.
    for name, value in both.items():
        assert_close(value, (singles[0][name] + singles[1][name]) / 2)


def test_no_objects():
    outputs = make_outputs(2)
    losses = run(make_loss(), outputs, [make_target([]), make_target([])])
    assert losses["loss_retina_reg"].item() == 0
    sum(losses.values()).backward()
    assert all((level.grad > 0).all() for level in outputs.logits)
    assert all(level.grad.abs().sum() == 0 for level in outputs.deltas)


def test_no_images():
    losses = run(make_loss(), make_outputs(0), [])
    assert [value.item() for value in losses.values()] == [0, 0]


def test_the_box_loss_may_have_buffers_that_belong_to_the_model():
    loss = make_loss(SelfAdjustingSmoothL1Loss(4, beta=0.11))
    assert list(loss.state_dict()) == ["box_loss.running_mean", "box_loss.running_var"]
    run(loss, make_outputs(1), [make_target([[0.0, 0, 15, 7]], [1])])
    assert (loss.box_loss.running_var > 0).all()
    assert list(make_loss().state_dict()) == []
