"""What MODEL.RETINANET makes of the RetinaNet stage."""

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

MASKS = ("MODEL.MASK_ON", True, "TEST.DETECTIONS_PER_IMG", 30)


def make_stage(*options):
    cfg = get_default_config()
    cfg.merge_from_list(
        [
            *("MODEL.RETINANET_ON", True, "MODEL.NUM_CLASSES", 4),
            *("MODEL.RETINANET.NUM_CONVS", 1, "MODEL.RETINANET.INFERENCE_TH", 0.0),
            *options,
        ]
    )
    torch.manual_seed(0)
    return build_rpn(cfg, in_channels=8)


def make_batch(num_boxes=(1, 2)):
    generator = torch.Generator().manual_seed(0)
    images = ImageList(torch.zeros(2, 3, 64, 64), [(64, 64), (48, 60)])
    features = [torch.rand(2, 8, s, s, generator=generator) for s in (8, 4, 2, 1, 1)]
    boxes = torch.tensor([[10.0, 10, 40, 40], [4, 4, 30, 20]])
    sizes = [(64, 64), (60, 48)]
    targets = [BoxList(boxes[:n], size) for n, size in zip(num_boxes, sizes, strict=True)]
    for target in targets:
        target.add_field("labels", torch.arange(len(target)) + 1)
    return images, features, targets


def test_without_later_heads_training_makes_no_proposals():
    output = make_stage()(*make_batch())
    assert output.boxes == []
    assert set(output.losses) == {"loss_retina_cls", "loss_retina_reg"}


def test_ground_truth_joins_the_proposals_of_a_mask_head():
    images, features, targets = make_batch()
    output = make_stage(*MASKS)(images, features, targets)
    for proposals, target in zip(output.boxes, targets, strict=True):
        assert len(proposals) == 30 + len(target)
        assert torch.equal(proposals.bbox[-len(target) :], target.bbox)
        assert torch.equal(proposals.labels[-len(target) :], target.labels)
        assert (proposals.scores[-len(target) :] == 1).all()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), 30),
        (("MODEL.RETINANET.NUM_MASKS_TEST", 7), 7),
        (("MODEL.RETINANET.NUM_MASKS_TEST", 0), 30),
        (("TEST.DETECTIONS_PER_IMG", 0, "MODEL.RETINANET.NUM_MASKS_TEST", 7), 7),
        (("MODEL.MASK_ON", False, "MODEL.RETINANET.NUM_MASKS_TEST", 7), 30),
    ],
)
def test_the_best_detections_get_masks(options, expected):
    stage = make_stage(*MASKS, *options).eval()
    images, features, _ = make_batch()
    output = stage(images, features)
    assert output.losses == {}
    assert [len(detections) for detections in output.boxes] == [expected] * 2
    (everything, _) = make_stage("TEST.DETECTIONS_PER_IMG", 0).eval()(images, features).boxes
    best = everything.scores.sort(descending=True).values[:expected]
    assert torch.equal(output.boxes[0].scores.sort(descending=True).values, best)


def test_gradients_reach_every_layer():
    stage = make_stage()
    sum(stage(*make_batch()).losses.values()).backward()
    for name, parameter in stage.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_images_without_objects_train():
    stage = make_stage(*MASKS)
    output = stage(*make_batch(num_boxes=(0, 0)))
    assert output.losses["loss_retina_reg"].item() == 0
    sum(output.losses.values()).backward()
    assert all(parameter.grad is not None for parameter in stage.parameters())


def test_the_self_adjusting_loss_keeps_its_numbers_in_the_state_dict():
    plain = set(make_stage().state_dict())
    adjusting = make_stage("MODEL.RETINANET.SELFADJUST_SMOOTH_L1", True)
    added = {"loss.box_loss.running_mean", "loss.box_loss.running_var"}
    assert set(adjusting.state_dict()) - plain == added
    assert adjusting.loss.box_loss.running_mean.tolist() == pytest.approx([0.11] * 4)


def test_anchors_that_stick_out_are_trained_on():
    """upstream: all-anchors."""
    images, features, targets = make_batch()
    losses = [
        make_stage("MODEL.RETINANET.STRADDLE_THRESH", threshold)(images, features, targets).losses
        for threshold in (0, -1)
    ]
    assert losses[0] == losses[1]
