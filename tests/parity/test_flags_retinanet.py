"""RetinaNet of many settings against a restatement of what it should do.

The reference outputs of the original have the published settings alone; these tests have others.
"""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from tests.golden.deterministic_weights import deterministic_state_dict
from tests.parity import restated_anchors as anchors
from tests.parity import restated_rules as rules
from tests.parity.restated_layers import Layers
from tests.parity.same_detections import assert_same_detections

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
SIZE_HW = (75, 90)
BASE = {
    "BACKBONE.CONV_BODY": "V-19-slim-dw-eSE-FPN-RETINANET",
    "NUM_CLASSES": 4,
    "VOVNET.BACKBONE_OUT_CHANNELS": 32,
    "RETINANET.NUM_CONVS": 1,
    "RETINANET.INFERENCE_TH": 0.2,
}
CASES = {
    "as published": {},
    "one anchor a cell, P6 of P5": {
        "RETINANET.USE_C5": False,
        "RETINANET.SCALES_PER_OCTAVE": 1,
        "RETINANET.ASPECT_RATIOS": (1.0,),
        "RETINANET.ANCHOR_SIZES": (16, 32, 64, 128, 256),
        "RETINANET.FG_IOU_THRESHOLD": 0.6,
        "RETINANET.BBOX_REG_WEIGHT": 1.0,
        "RETINANET.BBOX_REG_BETA": 0.3,
        "RETINANET.LOSS_ALPHA": 0.5,
        "RETINANET.LOSS_GAMMA": 1.0,
    },
    "other limits, no low-quality matches": {
        "RETINANET.PRE_NMS_TOP_N": 30,
        "RETINANET.NMS_TH": 0.2,
        "RETINANET.INFERENCE_TH": 0.5,
        "TEST.DETECTIONS_PER_IMG": 7,
        "RETINANET.LOW_QUALITY_MATCHES": False,
        "NUM_CLASSES": 2,
    },
    "self-adjusting loss, low-quality matches of a least quality": {
        "RETINANET.SELFADJUST_SMOOTH_L1": True,
        "RETINANET.LOW_QUALITY_THRESHOLD": 0.35,
        "RETINANET.ASPECT_RATIOS": (0.5, 2.0),
    },
    "group norm in pyramid and towers": {
        "VOVNET.BACKBONE_OUT_CHANNELS": 64,
        "FPN.USE_GN": True,
        "FPN.BIAS_BEFORE_NORM": True,
        "RETINANET.USE_GN": True,
        "RETINANET.NUM_CONVS": 2,
        "RETINANET.INFERENCE_TH": 0.05,
    },
}


class Case:
    """A model with fixed weights, and an image with its ground truth."""

    def __init__(self, name):
        self.cfg = get_default_config()
        self.cfg.merge_from_file("configs/retinanet/retinanet_R-50-FPN_1x.yaml")
        for key, value in (BASE | CASES[name]).items():
            path = key if key.startswith("TEST.") else f"MODEL.{key}"
            self.cfg.merge_from_list([path, value])
        self.model = build_detection_model(self.cfg)
        start = self.model.state_dict()
        weights = deterministic_state_dict(start)
        weights["rpn.head.cls_logits.bias"] -= 4
        # The running numbers begin as they do in a new model.
        weights |= {key: start[key] for key in start if ".box_loss." in key}
        self.model.load_state_dict(weights)
        self.layers = Layers(weights, self.cfg)
        noise = torch.randn(3, *SIZE_HW, generator=torch.Generator().manual_seed(3))
        self.images = to_image_list([60 * noise.cumsum(dim=2) / 8], 32)
        boxes = torch.tensor([[4.0, 5.0, 40.5, 60.0], [10.0, 8.0, 33.0, 30.25], [50.0, 3, 58, 70]])
        self.target = BoxList(boxes, SIZE_HW[::-1])
        num_classes = self.cfg.MODEL.NUM_CLASSES
        self.target.add_field("labels", torch.tensor([1, num_classes - 1, 1]))

    def restated_outputs(self):
        """For each level logits (L, C), codes (L, 4) and anchors (L, 4)."""
        retinanet = self.cfg.MODEL.RETINANET
        maps = self.layers.pyramid(self.model.backbone.body(self.images.tensors))
        octave, num_scales = retinanet.OCTAVE, retinanet.SCALES_PER_OCTAVE
        outputs = []
        for x, stride, size in zip(
            maps, retinanet.ANCHOR_STRIDES, retinanet.ANCHOR_SIZES, strict=True
        ):
            logits, codes = (self._predict(kind, x) for kind in ("cls", "bbox"))
            sizes = [size * octave ** (i / num_scales) for i in range(num_scales)]
            level = anchors.level_anchors(*x.shape[2:], stride, sizes, retinanet.ASPECT_RATIOS)
            outputs.append((logits.unflatten(0, (len(level), -1)), codes.view(-1, 4), level))
        return outputs

    def _predict(self, kind, x):
        """All numbers of a level, rows, then columns, then anchors of a cell."""
        retinanet = self.cfg.MODEL.RETINANET
        layers_of_conv = 3 if retinanet.USE_GN else 2
        for index in range(retinanet.NUM_CONVS):
            name = f"rpn.head.{kind}_tower.{layers_of_conv * index}"
            norm = f"rpn.head.{kind}_tower.{layers_of_conv * index + 1}"
            x = self.layers.conv(name, x)
            x = self.layers.group_norm(norm, x) if retinanet.USE_GN else x
            x = x.relu()
        name = {"cls": "cls_logits", "bbox": "bbox_pred"}[kind]
        return self.layers.conv(f"rpn.head.{name}", x)[0].permute(1, 2, 0).flatten()


def restated_detections(case):
    retinanet, limit = case.cfg.MODEL.RETINANET, case.cfg.TEST.DETECTIONS_PER_IMG
    boxes, scores, labels = [], [], []
    for logits, codes, level in case.restated_outputs():
        probs = logits.sigmoid()
        places, classes = torch.nonzero(probs > retinanet.INFERENCE_TH, as_tuple=True)
        best = probs[places, classes].argsort(descending=True)[: retinanet.PRE_NMS_TOP_N]
        for place, label in zip(places[best].tolist(), classes[best].tolist(), strict=True):
            box = anchors.decode(codes[place].tolist(), level[place], WEIGHTS)
            boxes.append(anchors.clipped(box, SIZE_HW))
            scores.append(probs[place, label].item())
            labels.append(label + 1)
    found = np.array(boxes, dtype=np.float32), np.array(scores), np.array(labels)
    kept = rules.suppress(*found, retinanet.NMS_TH)
    kept = kept[found[1][kept] >= np.sort(found[1][kept])[-limit:][0]]
    return [torch.from_numpy(part[kept]) for part in found]


@pytest.mark.parametrize("name", CASES)
def test_detections(name):
    case = Case(name)
    with torch.inference_mode():
        boxes, scores, labels = restated_detections(case)
        (result,) = case.model.eval()(case.images)
    assert_same_detections(result, boxes, scores, labels)


def restated_losses(case):
    retinanet = case.cfg.MODEL.RETINANET
    logits, codes, boxes = zip(*case.restated_outputs(), strict=True)
    logits, codes, boxes = torch.cat(logits), torch.cat(codes).numpy(), np.concatenate(boxes)
    truths = case.target.bbox.numpy()
    low_quality = retinanet.LOW_QUALITY_THRESHOLD if retinanet.LOW_QUALITY_MATCHES else None
    thresholds = retinanet.FG_IOU_THRESHOLD, retinanet.BG_IOU_THRESHOLD
    matches = anchors.match(boxes, truths, *thresholds, low_quality)
    is_true = torch.zeros_like(logits, dtype=torch.bool)
    errors = []
    for place, owner in enumerate(matches):
        if owner is not None and owner >= 0:
            is_true[place, case.target.labels[owner] - 1] = True
            wanted = anchors.encode(truths[owner], boxes[place], WEIGHTS)
            errors.append(np.abs(codes[place] - wanted))
    counts = torch.tensor([owner != -1 for owner in matches])
    focal = rules.focal_loss(
        logits[counts], is_true[counts], retinanet.LOSS_GAMMA, retinanet.LOSS_ALPHA
    )
    beta = retinanet.BBOX_REG_BETA
    widths = np.full(4, beta)
    if retinanet.SELFADJUST_SMOOTH_L1:
        mean = 0.9 * beta + 0.1 * np.mean(errors, axis=0)
        widths = np.clip(mean - 0.1 * np.var(errors, axis=0, ddof=1), 1e-3, beta)
    box_loss = sum(anchors.smooth_l1(error, widths) for error in errors)
    return {
        "loss_retina_cls": focal.item() / (len(errors) + 1),
        "loss_retina_reg": box_loss / (len(errors) * retinanet.BBOX_REG_WEIGHT),
    }


@pytest.mark.parametrize("name", CASES)
def test_losses(name):
    case = Case(name)
    with torch.no_grad():
        expected = restated_losses(case)
        losses = case.model.train()(case.images, [case.target])
    assert {key: loss.item() for key, loss in losses.items()} == pytest.approx(expected, rel=1e-4)
    assert all(loss > 0 for loss in losses.values())
