"""Models of the original's YAML files, built and run as its scripts do."""

import copy

import pytest
import torch

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import build_roi_heads
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.contract.source_tree import ROOT

LITE = "centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"
FCOS_LOSSES = {"loss_cls", "loss_reg", "loss_centerness"}
CASES = {
    "e2e_faster_rcnn_fbnet.yaml": {
        *("loss_objectness", "loss_rpn_box_reg"),
        *("loss_classifier", "loss_box_reg"),
    },
    LITE: {*FCOS_LOSSES, "loss_mask"},
}


def load(file):
    cfg = copy.deepcopy(global_cfg)
    cfg.merge_from_file(str(ROOT / "configs" / file))
    return cfg


def images_of(cfg):
    sizes = ((64, 96), (96, 64))
    images = [torch.rand(3, height, width) for height, width in sizes]
    return to_image_list(images, cfg.DATALOADER.SIZE_DIVISIBILITY).to("cpu")


def target():
    boxes = BoxList([[5, 5, 50, 60], [10, 20, 60, 40]], (96, 64), mode="xyxy")
    boxes.add_field("labels", torch.tensor([1, 3]))
    outlines = [[[5, 5, 50, 5, 50, 60]], [[10, 20, 60, 20, 60, 40, 10, 40]]]
    boxes.add_field("masks", SegmentationMask(outlines, (96, 64), mode="poly"))
    return boxes


@pytest.mark.parametrize(("file", "losses"), CASES.items())
def test_a_model_of_a_file_runs_and_trains(file, losses):
    cfg = load(file)
    cfg.MODEL.RPN.POST_NMS_TOP_N_TEST = 10
    cfg.MODEL.RPN.FPN_POST_NMS_TOP_N_TEST = 10
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 8
    cfg.freeze()
    model = build_detection_model(cfg).to("cpu")
    images = images_of(cfg)

    model.eval()
    found = model(images)
    assert [tuple(each.size) for each in found] == [(96, 64), (64, 96)]
    assert all(isinstance(each, BoxList) for each in found)

    model.train()
    loss_dict = model(images, [target(), target().resize((64, 96))])
    assert set(loss_dict) == losses
    total = sum(loss for loss in loss_dict.values())
    total.backward()
    assert torch.isfinite(total)
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)


def test_detections_have_the_fields_of_the_original():
    cfg = load("centermask/centermask_M_v2_FPN_1x.yaml")
    cfg.merge_from_list(["MODEL.FCOS.INFERENCE_TH", 0.0, "TEST.DETECTIONS_PER_IMG", 4])
    found = build_detection_model(cfg).eval()([torch.rand(3, 64, 64)])[0]
    assert len(found) >= 4
    assert found.mode == "xyxy"
    assert found.get_field("labels").dtype == torch.int64
    assert found.get_field("scores").shape == (len(found),)
    assert found.get_field("mask").shape == (len(found), 1, 28, 28)
    assert found.get_field("mask_scores").shape == (len(found),)


def test_the_parts_can_be_built_and_called_one_by_one():
    cfg = load(LITE)
    backbone = build_backbone(cfg)
    rpn = build_rpn(cfg, backbone.out_channels)
    roi_heads = build_roi_heads(cfg, backbone.out_channels)
    images = images_of(cfg)
    targets = [target(), target().resize((64, 96))]
    features = backbone(images.tensors)
    assert isinstance(features, list | tuple)
    assert [len(feature) for feature in features] == [2] * 5
    proposals, losses = rpn(images, features, targets)
    assert set(losses) == FCOS_LOSSES
    _, mask_losses = roi_heads(features, proposals, targets)
    assert set(mask_losses) == {"loss_mask"}
    for part in (rpn, roi_heads):
        part.eval()
    proposals, losses = rpn(images, features)
    assert losses == {}
    detections, losses = roi_heads(features, proposals)
    assert len(detections) == 2
    assert losses == {}


def test_a_model_has_its_parts_under_their_old_names():
    model = build_detection_model(load(LITE))
    assert model.backbone.out_channels == 128
    assert model.roi_heads.mask.predictor.mask_fcn_logits.weight.shape[0] == 81
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "rpn", "roi_heads"}
