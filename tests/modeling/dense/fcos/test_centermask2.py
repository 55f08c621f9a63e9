"""FCOS under the rules of CenterMask2, by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.config import ArchitectureSpec, get_default_config
from maskrcnn_benchmark.layers import IOULoss, SigmoidFocalLoss
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSHead, FCOSHeadSettings, FCOSOutputs
from maskrcnn_benchmark.modeling.dense.fcos.inference import ROOT, decode_levels
from maskrcnn_benchmark.modeling.dense.fcos.locations import compute_locations
from maskrcnn_benchmark.modeling.dense.fcos.loss import FCOSLoss, mean_divisors, own_divisors
from maskrcnn_benchmark.modeling.dense.fcos.targets import FCOSTargetAssigner, FCOSTargetSettings
from maskrcnn_benchmark.modeling.dense.selection import Candidates, Selection, SelectionSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList

LIMITS = {"score_threshold": 0.05, "pre_nms_top_n": 9, "nms_threshold": 0.6, "post_nms_top_n": 9}


def test_distances_are_rectified_and_count_in_strides():
    settings = FCOSHeadSettings(
        in_channels=32, num_levels=2, num_convs=0, distances="relu_strides", strides=(8, 16)
    )
    head = FCOSHead(settings)
    torch.nn.init.zeros_(head.bbox_pred.weight)
    head.bbox_pred.bias.data = torch.tensor([1.5, -2.0, 0.5, 0.0])
    head.scales[1].scale.data.fill_(2.0)
    fine, coarse = head([torch.zeros(1, 32, 1, 1)] * 2).ltrb
    assert fine.flatten().tolist() == [12.0, 0.0, 4.0, 0.0]
    assert coarse.flatten().tolist() == [48.0, 0.0, 16.0, 0.0]


def test_a_score_is_the_root_of_the_product():
    logits, centerness = torch.tensor([0.25, 0.5]).logit(), torch.tensor([0.81, 0.04]).logit()
    level = (logits.view(1, 1, 1, 2), torch.ones(1, 4, 1, 2), centerness.view(1, 1, 1, 2))
    locations = torch.tensor([[4.0, 4.0], [12.0, 4.0]])
    ((found,),) = decode_levels([level], [locations], SelectionSettings(**LIMITS), score=ROOT)
    scores = sorted(found.fields["scores"].tolist())
    assert scores == pytest.approx([math.sqrt(0.02), 0.45])


def test_boxes_stay_unclipped_and_come_best_first():
    boxes = torch.tensor([[-5.0, 0.0, 4.0, 4.0], [3.0, 9.0, 30.0, 12.0]])
    fields = {"labels": torch.tensor([1, 2]), "scores": torch.tensor([0.3, 0.6])}
    settings = SelectionSettings(**LIMITS, pixel_offset=0, clips=False, best_first=True)
    selection = Selection(settings, lambda *_: [[Candidates(boxes, fields)]])
    (found,) = selection(([boxes],), [boxes], [(10, 20)])
    assert found.bbox.tolist() == boxes.flip(0).tolist()
    assert found.labels.tolist() == [2, 1]
    assert found.pixel_offset == 0


def one_positive(units, divisors, enclosing_eps):
    """Losses of one 2 x 2 level of stride 8 whose first location (4, 4) lies in a box, and maps."""
    generator = torch.Generator().manual_seed(1)
    maps = [torch.rand(1, c, 2, 2, generator=generator) * 9 for c in (2, 4, 1)]
    outputs = FCOSOutputs(*([each.requires_grad_()] for each in maps))
    target = BoxList([[0.0, 1.0, 8.0, 7.0]], (16, 16), pixel_offset=0)
    target.add_field("labels", torch.tensor([1]))
    loss = FCOSLoss(
        assigner=FCOSTargetAssigner(FCOSTargetSettings((8,), ((-1.0, 1e8),))),
        focal_loss=SigmoidFocalLoss(2.0, 0.25),
        iou_loss=IOULoss("giou", enclosing_eps=enclosing_eps),
        num_foreground=2,
        units=units,
        divisors=divisors,
    )
    return loss(outputs, compute_locations(outputs.logits, (8,), 1), [target]), outputs


def test_losses_by_hand():
    losses, outputs = one_positive([8], mean_divisors, 0.0)
    left, top, right, bottom = (outputs.ltrb[0][0, :, 0, 0] / 8).tolist()
    target = [0.5, 3 / 8, 0.5, 3 / 8]  # distances of (4, 4), in strides
    width = min(left, target[0]) + min(right, target[2])
    height = min(top, target[1]) + min(bottom, target[3])
    inside = width * height
    union = (left + right) * (top + bottom) + 1.0 * 0.75 - inside
    around = (max(left, 0.5) + max(right, 0.5)) * (max(top, 3 / 8) + max(bottom, 3 / 8))
    giou = (inside + 1) / (union + 1) - (around - union) / around
    # The centre of a box has the centerness 1, which is the weight and the divisor.
    assert losses["loss_reg"].item() == pytest.approx(1 - giou, rel=1e-5)
    logits = outputs.logits[0][0].flatten(1).t()
    labels = torch.tensor([1, 0, 0, 0], dtype=torch.int32)
    assert_close(losses["loss_cls"], SigmoidFocalLoss(2.0, 0.25)(logits, labels) / 1)
    centerness = outputs.centerness[0][0, 0, 0, 0].sigmoid().item()
    assert losses["loss_centerness"].item() == pytest.approx(-math.log(centerness), rel=1e-4)


def test_divisors():
    weights = torch.tensor([0.5, 0.25])
    assert own_divisors(3, weights) == (5, None, 2)
    assert mean_divisors(3, weights) == (2.0, 0.75, 2.0)
    assert mean_divisors(3, weights[:0]) == (1.0, 1e-6, 1.0)


def test_the_settings_reach_the_parts():
    cfg = get_default_config()
    cfg.merge_from_file("configs/centermask2/centermask_lite_V_39_eSE_FPN_ms_4x.yaml")
    stage = build_rpn(cfg, 128, ArchitectureSpec.from_config(cfg), None)
    assert stage.head.strides == (8, 16, 32, 64, 128)
    assert stage.loss.units == [8, 16, 32, 64, 128]
    assert stage.loss.divisors is mean_divisors
    for selection in (stage.select_train, stage.select_test):
        settings = selection.settings
        assert (settings.pixel_offset, settings.clips, settings.best_first) == (0, False, True)
        assert settings.score_threshold == 0.05
    outputs = stage.head([torch.randn(1, 128, 2, 2)] * 5)
    assert all((ltrb >= 0).all() for ltrb in outputs.ltrb)
