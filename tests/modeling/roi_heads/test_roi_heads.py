"""All heads together, on proposals that are given."""

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import build_roi_heads
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from tests.factories import elliptic_masks, random_boxlist

SIZE_WH = (128, 96)
CHANNELS = 16
SMALL = {
    "MODEL.NUM_CLASSES": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 4,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 2,
    "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": 8,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 4,
    "MODEL.ROI_MASK_HEAD.CONV_LAYERS": (8,),
    "MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS": (8,),
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION": 4,
    "MODEL.ROI_KEYPOINT_HEAD.RESOLUTION": 16,
    "MODEL.ROI_KEYPOINT_HEAD.SHARE_BOX_FEATURE_EXTRACTOR": False,
    "MODEL.ROI_HEADS.SCORE_THRESH": 0.0,
}
PYRAMID = {
    "MODEL.MASK_ON": True,
    "MODEL.KEYPOINT_ON": True,
    "MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR": "FPN2MLPFeatureExtractor",
    "MODEL.ROI_BOX_HEAD.PREDICTOR": "FPNPredictor",
    "MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR": "MaskRCNNFPNFeatureExtractor",
    "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR": False,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 4,
    "MODEL.ROI_MASK_HEAD.RESOLUTION": 8,
}
MASKIOU = {"MODEL.MASKIOU_ON": True, "MODEL.ROI_MASKIOU_HEAD.CONV_LAYERS": (8, 8)}
C4 = {
    "MODEL.MASK_ON": True,
    "MODEL.ROI_MASK_HEAD.RESOLUTION": 4,
    "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR": True,
}


def make_heads(*changes):
    torch.manual_seed(0)
    cfg = get_default_config()
    for options in (SMALL, *changes):
        for key, value in options.items():
            cfg.merge_from_list([key, value])
    heads = build_roi_heads(cfg, CHANNELS)
    for name, parameter in heads.named_parameters():
        if "cls_score" in name:
            parameter.data.normal_()
    return heads


def make_maps(num_images=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(num_images, CHANNELS, 6, 8, generator=generator)]


def make_target(num_boxes=3, seed=1):
    target = random_boxlist(num_boxes, SIZE_WH, seed).copy_with_fields("labels")
    target.add_field("masks", elliptic_masks(target))
    points = torch.full((num_boxes, 17, 3), 2.0)
    points[..., :2] = (target.bbox[:, None, :2] + target.bbox[:, None, 2:]) / 2
    target.add_field("keypoints", PersonKeypoints(points, SIZE_WH))
    return target


def make_proposals(target, num_random=6):
    """Random boxes and the ground truth, as the RPN gives them."""
    boxes = torch.cat([random_boxlist(num_random, SIZE_WH, seed=9).bbox, target.bbox])
    proposals = BoxList(boxes, SIZE_WH)
    proposals.add_field("objectness", torch.ones(len(boxes)))
    return proposals


def no_boxes():
    return BoxList(torch.zeros(0, 4), SIZE_WH)


ALL_LOSSES = {
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
    "loss_maskiou",
    "loss_kp",
}


@pytest.mark.parametrize("counts", [(3, 2), (3, 0), (0, 0)])
def test_training_of_all_heads(counts):
    heads = make_heads(PYRAMID, MASKIOU).train()
    targets = [make_target(count) for count in counts]
    proposals = [make_proposals(target) for target in targets]
    output = heads(make_maps(), proposals, targets)
    assert set(output.losses) == ALL_LOSSES
    assert all(loss.isfinite() for loss in output.losses.values())
    if not any(counts):
        assert all(output.losses[name] == 0 for name in ALL_LOSSES - {"loss_classifier"})
    sum(output.losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads.parameters())


def test_training_without_any_proposal():
    heads = make_heads(PYRAMID, MASKIOU).train()
    losses = heads(make_maps(), [no_boxes(), no_boxes()], [make_target(), make_target(0)]).losses
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in heads.parameters())


@pytest.mark.parametrize("changes", [(PYRAMID, MASKIOU), (C4,)], ids=["pyramid", "C4"])
def test_evaluation_of_two_images_equals_two_evaluations(changes):
    heads = make_heads(*changes).eval()
    maps = make_maps()
    proposals = [make_proposals(make_target(seed=seed)) for seed in (1, 2)]
    both = heads(maps, proposals).boxes
    for i, expected in enumerate(both):
        (single,) = heads([maps[0][i : i + 1]], proposals[i : i + 1]).boxes
        assert len(single) > 0
        torch.testing.assert_close(single.bbox, expected.bbox)
        for field in set(expected.fields()) - {"keypoints"}:
            torch.testing.assert_close(single.get_field(field), expected.get_field(field))


def test_an_image_without_proposals_keeps_its_place():
    # UPSTREAM(empty-images): see the detector's tests.
    heads = make_heads(PYRAMID, MASKIOU).eval()
    maps, proposals = make_maps(), make_proposals(make_target())
    nothing, found = heads(maps, [no_boxes(), proposals]).boxes
    (alone,) = heads([maps[0][1:]], [proposals]).boxes
    assert len(nothing) == 0
    assert nothing.get_field("mask").shape == (0, 1, 8, 8)
    assert len(nothing.get_field("keypoints")) == 0
    torch.testing.assert_close(found.get_field("mask"), alone.get_field("mask"))
    assert set(found.fields()) == {"labels", "scores", "mask", "mask_scores", "keypoints"}


def test_a_shared_extractor_is_registered_twice_and_trained_once():
    heads = make_heads(C4)
    keys = [key for key in heads.state_dict() if ".feature_extractor." in key]
    assert {key.split(".")[0] for key in keys} == {"box", "mask"}
    assert heads["mask"].feature_extractor is heads["box"].feature_extractor
    assert not any(name.startswith("mask.feature") for name, _ in heads.named_parameters())


def test_shared_features_in_training_are_those_of_pooling_anew():
    heads = make_heads(C4).train()
    target = make_target()
    proposals = make_proposals(target)
    losses, gradients = [], []
    for shares in (True, False):
        heads["mask"].shares_box_features = shares
        heads.zero_grad()
        torch.manual_seed(1)
        loss = heads(make_maps(1), [proposals], [target]).losses["loss_mask"]
        loss.backward()
        losses.append(loss)
        gradients.append([p.grad.clone() for p in heads.parameters() if p.grad is not None])
    torch.testing.assert_close(losses[0], losses[1])
    # Where features are shared, the others of the sample get gradients of zero.
    torch.testing.assert_close(gradients[0][-4:], gradients[1][-4:])


def test_vectors_cannot_be_shared_with_heads_that_need_maps():
    with pytest.raises(ConfigError, match="SHARE_BOX_FEATURE_EXTRACTOR"):
        make_heads(PYRAMID, {"MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR": True})


def test_masks_of_another_side_than_the_mask_iou_head_can_take():
    with pytest.raises(ConfigError, match=r"RESOLUTION: .*\b28\b.*got 14"):
        make_heads({"MODEL.MASK_ON": True, "MODEL.MASKIOU_ON": True})


def test_masks_pasted_by_the_model():
    pasted = {"MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS": True}
    proposals = [make_proposals(make_target()), no_boxes()]
    plain = make_heads(PYRAMID, MASKIOU).eval()(make_maps(), proposals).boxes
    whole = make_heads(PYRAMID, MASKIOU, pasted).eval()(make_maps(), proposals).boxes
    masks = whole[0].get_field("mask")
    width, height = SIZE_WH
    assert masks.shape == (len(plain[0]), 1, height, width)
    assert masks.dtype == torch.uint8
    assert whole[1].get_field("mask").shape == (0, 1, height, width)
    torch.testing.assert_close(whole[0].get_field("mask_scores"), plain[0].get_field("mask_scores"))
    heads = make_heads(PYRAMID, pasted, {"MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS_THRESHOLD": 0.99})
    fewer = heads.eval()(make_maps(), proposals).boxes[0].get_field("mask")
    assert fewer.sum() < masks.sum()


def test_a_model_without_heads():
    assert build_roi_heads(get_default_config_of_rpn(), CHANNELS) is None


def get_default_config_of_rpn():
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", False])
    return cfg
