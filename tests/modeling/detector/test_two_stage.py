"""Whole two-stage models of few channels: RPN, then box, mask and keypoint heads."""

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from tests.factories import elliptic_masks, random_boxlist
from tests.modeling.detector.narrow import NARROW

SIZE_WH = (96, 64)
RPN_AND_BOX = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
CASES = {
    "e2e_faster_rcnn_R_50_FPN_1x": (set(), set()),
    "e2e_mask_rcnn_R_50_C4_1x": ({"loss_mask"}, {"mask"}),
    "e2e_mask_rcnn_R_50_FPN_1x": ({"loss_mask"}, {"mask"}),
    "e2e_keypoint_rcnn_R_50_FPN_1x": ({"loss_kp"}, {"keypoints"}),
}


def make_model(name, **changes):
    torch.manual_seed(0)
    cfg = get_default_config()
    cfg.merge_from_file(f"configs/{name}.yaml")
    for key, value in (NARROW | changes).items():
        cfg.merge_from_list([key, value])
    return build_detection_model(cfg)


def make_images(num_images=2):
    generator = torch.Generator().manual_seed(0)
    width, height = SIZE_WH
    return torch.randn(num_images, 3, height, width, generator=generator)


def make_target(num_boxes):
    boxes = random_boxlist(num_boxes, SIZE_WH, num_foreground=1)
    target = boxes.copy_with_fields("labels")
    target.add_field("masks", elliptic_masks(boxes))
    points = torch.full((num_boxes, 17, 3), 2.0)
    points[..., :2] = (target.bbox[:, None, :2] + target.bbox[:, None, 2:]) / 2
    target.add_field("keypoints", PersonKeypoints(points, SIZE_WH))
    return target


@pytest.mark.parametrize("counts", [(2, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("name", CASES)
def test_training(name, counts):
    """upstream: keypoint-head, of which the original built a box detector."""
    model = make_model(name).train()
    targets = [make_target(count) for count in counts]
    if not counts[1]:
        targets[1] = BoxList(torch.zeros(0, 4), SIZE_WH)  # may lack all fields
    losses = model(make_images(), targets)
    assert set(losses) == RPN_AND_BOX | CASES[name][0]
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", CASES)
def test_batch_of_two_equals_two_singles(name):
    model = make_model(name).eval()
    images = make_images()
    with torch.inference_mode():
        both = model(images)
        for i, expected in enumerate(both):
            (single,) = model(images[i : i + 1])
            assert len(single) == len(expected) >= 5
            torch.testing.assert_close(single.bbox, expected.bbox, rtol=1e-3, atol=1e-2)
            torch.testing.assert_close(single.scores, expected.scores, rtol=1e-3, atol=1e-5)
            assert set(single.fields()) == {"labels", "scores"} | CASES[name][1]


def test_no_detections_at_all():
    model = make_model("e2e_mask_rcnn_R_50_FPN_1x", **{"MODEL.ROI_HEADS.SCORE_THRESH": 1.0})
    with torch.inference_mode():
        found = model.eval()(make_images())
    assert [len(boxes) for boxes in found] == [0, 0]
    assert found[1].get_field("mask").shape == (0, 1, 28, 28)


def test_offsets_shared_by_all_classes():
    agnostic = {"MODEL.CLS_AGNOSTIC_BBOX_REG": True}
    model = make_model("e2e_faster_rcnn_R_50_FPN_1x", **agnostic)
    assert model.roi_heads["box"].predictor.bbox_pred.out_features == 8
    losses = model.train()(make_images(1), [make_target(2)])
    assert losses["loss_box_reg"] > 0
    with torch.inference_mode():
        (found,) = model.eval()(make_images(1))
    assert len(found) >= 5


def test_scores_boxes_and_losses_are_not_in_half_precision_under_autocast():
    model = make_model("e2e_keypoint_rcnn_R_50_FPN_1x")
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.train()(make_images(1), [make_target(2)])
        with torch.no_grad():
            (found,) = model.eval()(make_images(1))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert found.scores.dtype == found.bbox.dtype == torch.float32
    assert found.get_field("keypoints").keypoints.dtype == torch.float32
