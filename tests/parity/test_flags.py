"""Models of many settings against a restatement of what they should do, layer by layer.

The reference outputs of the original have the published settings alone; these tests have others.
"""

import math

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.mask_targets import area_ratios, crop_and_rasterize
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.golden.deterministic_weights import deterministic_state_dict
from tests.parity import restated_rules as rules
from tests.parity.restated_layers import Layers

BASE = {
    "BACKBONE.CONV_BODY": "V-19-slim-dw-eSE-FPN-RETINANET",
    "NUM_CLASSES": 4,
    "VOVNET.BACKBONE_OUT_CHANNELS": 64,
    "FCOS.NUM_CONVS": 1,
    "FCOS.INFERENCE_TH": 0.1,
    "ROI_MASK_HEAD.CONV_LAYERS": (32,),
    "ROI_MASKIOU_HEAD.CONV_LAYERS": (16, 16),
}
CASES = {
    "as published": {},
    "five points in a shared head": {
        "FCOS.HEAD": "FCOSSharedHead",
        "FCOS.DENSE_POINTS": 5,
        "FCOS.RESIDUAL_CONNECTION": True,
        "FCOS.LOC_LOSS_TYPE": "linear_iou",
        "FCOS.POS_RADIUS": 0.5,
        "ROI_MASK_HEAD.LEVEL_MAP_FUNCTION": "MASKRCNNLevelMapFunc",
    },
    "four points, one class, group norm": {
        "NUM_CLASSES": 2,
        "FCOS.DENSE_POINTS": 4,
        "FCOS.LOC_LOSS_TYPE": "iou",
        "FCOS.CENTER_SAMPLE": False,
        "FPN.USE_GN": True,
        "ROI_MASK_HEAD.USE_GN": True,
        "ROI_MASK_HEAD.DILATION": 2,
        "MASKIOU_LOSS_WEIGHT": 0.3,
    },
    "P6 of C5, ReLU, residual towers, one pooled level": {
        "RETINANET.USE_C5": True,
        "FCOS.RESIDUAL_CONNECTION": True,
        "FCOS.POST_NMS_TOP_N_TRAIN": 6,
        "FPN.USE_RELU": True,
        "ROI_MASK_HEAD.POOLER_SCALES": (0.125,),
        "ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 0,
        "ROI_MASK_HEAD.FEATURE_EXTRACTOR": "MaskRCNNFPNFeatureExtractor",
        "ROI_MASK_HEAD.CONV_LAYERS": (32, 24),
        "ROI_MASKIOU_HEAD.CONV_LAYERS": (16,),
    },
    "other thresholds and limits": {
        "FCOS.INFERENCE_TH": 0.3,
        "FCOS.NMS_TH": 0.3,
        "FCOS.PRE_NMS_TOP_N": 40,
        "FCOS.LOSS_GAMMA": 1.5,
        "FCOS.LOSS_ALPHA": 0.6,
        "TEST.DETECTIONS_PER_IMG": 5,
        "ROI_HEADS.FG_IOU_THRESHOLD": 0.6,
        "ROI_HEADS.BG_IOU_THRESHOLD": 0.4,
    },
    "small masks without upsampling": {
        "MASKIOU_ON": False,
        "ROI_MASK_HEAD.PREDICTOR": "MaskRCNNConv1x1Predictor",
        "ROI_MASK_HEAD.POOLER_RESOLUTION": 7,
        "ROI_MASK_HEAD.RESOLUTION": 7,
        "ROI_MASK_HEAD.POOLER_SCALES": (0.125, 0.0625, 0.03125, 0.015625),
    },
}
# Odd sizes, so that padding differs in both directions; the second image has no objects.
SIZES_HW = ((83, 61), (40, 90))


class Case:
    """A model with fixed weights, and two images of different size with their ground truth."""

    def __init__(self, name):
        self.cfg = get_default_config()
        self.cfg.merge_from_file("configs/centermask/centermask_V_39_eSE_FPN_ms_3x.yaml")
        for key, value in (BASE | CASES[name]).items():
            path = key if key.startswith("TEST.") else f"MODEL.{key}"
            self.cfg.merge_from_list([path, value])
        self.model = build_detection_model(self.cfg)
        weights = deterministic_state_dict(self.model.state_dict())
        weights["rpn.head.cls_logits.bias"] -= 3
        self.model.load_state_dict(weights)
        self.layers = Layers(weights, self.cfg)
        generator = torch.Generator().manual_seed(3)
        noise = [torch.randn(3, *size, generator=generator) for size in SIZES_HW]
        self.images = to_image_list([60 * image.cumsum(dim=2) / 8 for image in noise], 32)
        self.targets = [make_target(self.cfg.MODEL.NUM_CLASSES), BoxList([], SIZES_HW[1][::-1])]

    def restated_outputs(self):
        """Pyramid, outputs of the head, and points of each level."""
        fcos = self.cfg.MODEL.FCOS
        pyramid = self.layers.pyramid(self.model.backbone.body(self.images.tensors))
        points = [
            rules.locations(*feature.shape[2:], stride, fcos.DENSE_POINTS)
            for feature, stride in zip(pyramid, fcos.FPN_STRIDES, strict=True)
        ]
        return pyramid, self.layers.fcos(pyramid), points

    def restated_selection(self, outputs, points, limit):
        """Found of each image."""
        of_images = [[tuple(part[i] for part in level) for level in outputs] for i in range(2)]
        return [
            rules.select(of_image, points, self.cfg.MODEL.FCOS, size_hw, limit)
            for of_image, size_hw in zip(of_images, SIZES_HW, strict=True)
        ]

    def pool(self, pyramid, boxes, image):
        head = self.cfg.MODEL.ROI_MASK_HEAD
        levels = [rules.pooling_level(box, SIZES_HW[image], head) for box in boxes]
        return torch.cat(
            [
                self.layers.pool(pyramid[level], box, image, head.POOLER_SCALES[level])
                for box, level in zip(boxes, levels, strict=True)
            ]
        )


def make_target(num_classes):
    height, width = SIZES_HW[0]
    boxes = torch.tensor([[4.0, 5.0, 40.5, 60.0], [10.0, 8.0, 33.0, 30.25], [0.0, 0.0, 60.0, 82.0]])
    outlines = [
        [[x1, y1, x2, y1, x2, y2, (x1 + x2) / 2, (y1 + y2) / 2, x1, y2]]
        for x1, y1, x2, y2 in boxes.tolist()
    ]
    target = BoxList(boxes, (width, height))
    target.add_field("labels", torch.tensor([1, num_classes - 1, 1]))
    target.add_field("masks", SegmentationMask(outlines, (width, height)))
    return target


def restated_detections(case):
    pyramid, outputs, points = case.restated_outputs()
    found = []
    selected = case.restated_selection(outputs, points, case.cfg.TEST.DETECTIONS_PER_IMG)
    for image, each in enumerate(selected):
        pooled = case.pool(pyramid, each.boxes, image)
        probs = case.layers.masks(pooled, each.labels).sigmoid()
        if case.cfg.MODEL.MASKIOU_ON:
            scores = each.scores * case.layers.mask_iou(pooled, probs, each.labels)
            each = each._replace(mask_scores=scores)
        found.append(each._replace(masks=probs))
    return found


@pytest.mark.parametrize("name", CASES)
def test_detections(name):
    case = Case(name)
    with torch.inference_mode():
        expected = restated_detections(case)
        results = case.model.eval()(case.images)
    for result, each in zip(results, expected, strict=True):
        assert len(result) == len(each.boxes) > 0
        distances = torch.cdist(result.bbox, each.boxes, p=math.inf)
        distances[result.labels[:, None] != each.labels] = math.inf
        assert distances.amin(dim=0).max() < 0.01
        order = distances.argmin(dim=0)
        assert len(order.unique()) == len(order)
        torch.testing.assert_close(result.scores[order], each.scores, rtol=0, atol=1e-5)
        masks = result.get_field("mask")[order, 0]
        torch.testing.assert_close(masks, each.masks, rtol=0, atol=1e-3)
        assert result.has_field("mask_scores") == case.cfg.MODEL.MASKIOU_ON
        if case.cfg.MODEL.MASKIOU_ON:
            mask_scores = result.get_field("mask_scores")[order]
            torch.testing.assert_close(mask_scores, each.mask_scores, rtol=0, atol=1e-4)


def restated_losses(case):
    model, target = case.cfg.MODEL, case.targets[0]
    pyramid, outputs, points = case.restated_outputs()
    truths = [(target.bbox, target.labels), (torch.zeros(0, 4), torch.zeros(0))]
    losses = rules.fcos_losses(outputs, points, truths, model.FCOS)
    found = case.restated_selection(outputs, points, model.FCOS.POST_NMS_TOP_N_TRAIN)[0]
    proposals = torch.cat([found.boxes, target.bbox])
    ious = [rules.inclusive_iou(box, target.bbox.numpy()) for box in proposals.numpy()]
    is_matched = [iou.max() >= model.ROI_HEADS.FG_IOU_THRESHOLD for iou in ious]
    owners = [int(iou.argmax()) for iou, matched in zip(ious, is_matched, strict=True) if matched]
    boxes, labels = proposals[is_matched], target.labels[owners]
    pooled = case.pool(pyramid, boxes, 0)
    logits = case.layers.masks(pooled, labels)
    # Rasterised outlines have reference outputs of their own.
    instances = target.get_field("masks")[owners]
    masks = crop_and_rasterize(instances, boxes, model.ROI_MASK_HEAD.RESOLUTION)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks.float())
    losses["loss_mask"] = entropy.item()
    if model.MASKIOU_ON:
        probs = logits.sigmoid()
        predicted = case.layers.mask_iou(pooled, probs, labels)
        loss = rules.mask_iou_loss(predicted, probs, masks, area_ratios(instances, boxes))
        losses["loss_maskiou"] = model.MASKIOU_LOSS_WEIGHT * loss
    return losses


@pytest.mark.parametrize("name", CASES)
def test_losses(name):
    case = Case(name)
    with torch.no_grad():
        expected = restated_losses(case)
        losses = case.model.train()(case.images, case.targets)
    assert {key: loss.item() for key, loss in losses.items()} == pytest.approx(expected, rel=1e-4)
    assert all(loss > 0 for loss in losses.values())
