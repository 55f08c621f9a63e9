"""Faster R-CNN of many settings against a restatement of what it should do.

The reference outputs of the original have the published settings alone; these tests have others.
Samples are larger than there are anchors and proposals, so that nothing is left to chance.
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

SIZE_HW = (75, 90)
BASE = {
    "BACKBONE.CONV_BODY": "V-19-slim-dw-eSE-FPN",
    "NUM_CLASSES": 4,
    "VOVNET.BACKBONE_OUT_CHANNELS": 32,
    "RPN.BATCH_SIZE_PER_IMAGE": 10**6,
    "RPN.POSITIVE_FRACTION": 1.0,
    "RPN.FPN_POST_NMS_TOP_N_TRAIN": 60,
    "RPN.FPN_POST_NMS_TOP_N_TEST": 50,
    "ROI_HEADS.BATCH_SIZE_PER_IMAGE": 10**6,
    "ROI_HEADS.POSITIVE_FRACTION": 1.0,
    "ROI_BOX_HEAD.MLP_HEAD_DIM": 128,
}
CASES = {
    "as published": {},
    "one set of offsets, group norm, other thresholds": {
        "CLS_AGNOSTIC_BBOX_REG": True,
        "FPN.USE_GN": True,
        "ROI_BOX_HEAD.USE_GN": True,
        "RPN.STRADDLE_THRESH": -1,
        "RPN.FG_IOU_THRESHOLD": 0.5,
        "RPN.BG_IOU_THRESHOLD": 0.4,
        "RPN.NMS_THRESH": 0.4,
        "ROI_HEADS.FG_IOU_THRESHOLD": 0.6,
        "ROI_HEADS.BG_IOU_THRESHOLD": 0.2,
        "ROI_HEADS.SCORE_THRESH": 0.3,
        "ROI_HEADS.BBOX_REG_WEIGHTS": (20.0, 10.0, 4.0, 3.0),
    },
    "convolutions, other limits and anchors": {
        "ROI_BOX_HEAD.FEATURE_EXTRACTOR": "FPNXconv1fcFeatureExtractor",
        "ROI_BOX_HEAD.NUM_STACKED_CONVS": 2,
        "ROI_BOX_HEAD.CONV_HEAD_DIM": 16,
        "ROI_BOX_HEAD.DILATION": 2,
        "ROI_BOX_HEAD.POOLER_RESOLUTION": 5,
        "ROI_MASK_HEAD.LEVEL_MAP_FUNCTION": "CenterMaskLevelMapFunc",
        "RPN.ANCHOR_SIZES": (12, 24, 48, 96, 200),
        "RPN.ASPECT_RATIOS": (0.3, 3.0),
        "RPN.STRADDLE_THRESH": 20,
        "RPN.PRE_NMS_TOP_N_TRAIN": 40,
        "RPN.PRE_NMS_TOP_N_TEST": 30,
        "RPN.POST_NMS_TOP_N_TRAIN": 15,
        "RPN.POST_NMS_TOP_N_TEST": 12,
        "RPN.MIN_SIZE": 9,
        "ROI_HEADS.NMS": 0.2,
        "ROI_HEADS.DETECTIONS_PER_IMG": 6,
        "NUM_CLASSES": 2,
    },
}


class Case:
    """A model with fixed weights, and an image with its ground truth."""

    def __init__(self, name):
        self.cfg = get_default_config()
        self.cfg.merge_from_file("configs/e2e_faster_rcnn_R_50_FPN_1x.yaml")
        for key, value in (BASE | CASES[name]).items():
            self.cfg.merge_from_list([f"MODEL.{key}", value])
        self.model = build_detection_model(self.cfg)
        weights = deterministic_state_dict(self.model.state_dict())
        self.model.load_state_dict(weights)
        self.layers = Layers(weights, self.cfg)
        noise = torch.randn(3, *SIZE_HW, generator=torch.Generator().manual_seed(3))
        self.images = to_image_list([60 * noise.cumsum(dim=2) / 8], 32)
        boxes = torch.tensor([[4.0, 5.0, 40.5, 60.0], [10.0, 8.0, 33.0, 30.25], [50.0, 3, 58, 70]])
        self.target = BoxList(boxes, SIZE_HW[::-1])
        num_classes = self.cfg.MODEL.NUM_CLASSES
        self.target.add_field("labels", torch.tensor([1, num_classes - 1, 1]))

    def restated_levels(self):
        """The pyramid, and for each level logits (L,), codes (L, 4) and anchors (L, 4)."""
        rpn, conv = self.cfg.MODEL.RPN, self.layers.conv
        pyramid = self.layers.two_stage_pyramid(self.model.backbone.body(self.images.tensors))
        levels = []
        for x, stride, size in zip(pyramid, rpn.ANCHOR_STRIDE, rpn.ANCHOR_SIZES, strict=True):
            hidden = conv("rpn.head.conv", x).relu()
            logits, codes = (
                conv(f"rpn.head.{name}", hidden)[0].permute(1, 2, 0).flatten()
                for name in ("cls_logits", "bbox_pred")
            )
            boxes = anchors.level_anchors(*x.shape[2:], stride, [size], rpn.ASPECT_RATIOS)
            levels.append((logits, codes.view(-1, 4), boxes))
        return pyramid, levels

    def restated_proposals(self, levels, split):
        """(K, 4) of the image, whose batch it is alone in."""
        rpn = self.cfg.MODEL.RPN
        boxes, scores = [], []
        for logits, codes, level in levels:
            best = logits.argsort(descending=True)[: rpn[f"PRE_NMS_TOP_N_{split}"]].tolist()
            found = [
                anchors.clipped(anchors.decode(codes[i].tolist(), level[i], (1,) * 4), SIZE_HW)
                for i in best
            ]
            found = np.array(found, dtype=np.float32)
            is_large = (found[:, 2:] - found[:, :2] + 1 >= rpn.MIN_SIZE).all(axis=1)
            found, level_scores = found[is_large], logits[best].sigmoid().numpy()[is_large]
            kept = rules.suppress(found, level_scores, np.zeros(len(found)), rpn.NMS_THRESH)
            kept = kept[: rpn[f"POST_NMS_TOP_N_{split}"]]
            boxes.append(found[kept])
            scores.append(level_scores[kept])
        best = np.argsort(-np.concatenate(scores), kind="stable")
        limit = rpn[f"FPN_POST_NMS_TOP_N_{split}"]
        return torch.from_numpy(np.concatenate(boxes)[best[:limit]])

    def restated_box_head(self, pyramid, proposals):
        """Class logits (R, C) and offsets (R, B, 4)."""
        head = self.cfg.MODEL.ROI_BOX_HEAD
        rule = head.clone()
        rule.LEVEL_MAP_FUNCTION = self.cfg.MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION
        levels = [rules.pooling_level(box, SIZE_HW, rule) for box in proposals]
        pooled = [
            self.layers.pool(pyramid[level], box, 0, head.POOLER_SCALES[level], "ROI_BOX_HEAD")
            for box, level in zip(proposals, levels, strict=True)
        ]
        x, prefix = torch.cat(pooled), "roi_heads.box.feature_extractor"
        if head.FEATURE_EXTRACTOR == "FPNXconv1fcFeatureExtractor":
            for index in range(head.NUM_STACKED_CONVS):
                name = f"{prefix}.xconvs.{2 * index}"
                x = self.layers.conv(name, x, dilation=head.DILATION).relu()
            x = self.layers.linear(f"{prefix}.fc6", x.flatten(1)).relu()
        else:
            x = x.flatten(1)
            for name in (f"{prefix}.fc6", f"{prefix}.fc7"):
                if head.USE_GN:
                    x = x @ self.layers.weights[f"{name}.0.weight"].T
                    x = self.layers.group_norm(f"{name}.1", x).relu()
                else:
                    x = self.layers.linear(name, x).relu()
        logits = self.layers.linear("roi_heads.box.predictor.cls_score", x)
        offsets = self.layers.linear("roi_heads.box.predictor.bbox_pred", x)
        return logits, offsets.unflatten(1, (-1, 4))


def restated_detections(case):
    heads = case.cfg.MODEL.ROI_HEADS
    pyramid, levels = case.restated_levels()
    proposals = case.restated_proposals(levels, "TEST")
    logits, offsets = case.restated_box_head(pyramid, proposals)
    boxes, scores, labels = [], [], []
    for proposal, probs, sets in zip(proposals, logits.softmax(dim=1), offsets, strict=True):
        for label in range(1, len(probs)):
            if probs[label] > heads.SCORE_THRESH:
                codes = sets[-1 if case.cfg.MODEL.CLS_AGNOSTIC_BBOX_REG else label].tolist()
                box = anchors.decode(codes, proposal.tolist(), heads.BBOX_REG_WEIGHTS)
                boxes.append(anchors.clipped(box, SIZE_HW))
                scores.append(probs[label].item())
                labels.append(label)
    found = np.array(boxes, dtype=np.float32), np.array(scores), np.array(labels)
    kept = rules.suppress(*found, heads.NMS)
    kept = kept[found[1][kept] >= np.sort(found[1][kept])[-heads.DETECTIONS_PER_IMG :][0]]
    return [torch.from_numpy(part[kept]) for part in found]


@pytest.mark.parametrize("name", CASES)
def test_detections(name):
    case = Case(name)
    with torch.inference_mode():
        boxes, scores, labels = restated_detections(case)
        (result,) = case.model.eval()(case.images)
    assert_same_detections(result, boxes, scores, labels)


def restated_rpn_losses(case, levels):
    rpn, truths = case.cfg.MODEL.RPN, case.target.bbox.numpy()
    logits, codes, boxes = zip(*levels, strict=True)
    logits, codes, boxes = torch.cat(logits), torch.cat(codes).numpy(), np.concatenate(boxes)
    matches = anchors.match(boxes, truths, rpn.FG_IOU_THRESHOLD, rpn.BG_IOU_THRESHOLD, 0)
    height, width = SIZE_HW
    objectness, offsets, count, out = 0.0, 0.0, 0, rpn.STRADDLE_THRESH
    for place, owner in enumerate(matches):
        x1, y1, x2, y2 = boxes[place]
        is_inside = min(x1, y1) >= -out and x2 < width + out and y2 < height + out
        if owner == -1 or (out >= 0 and not is_inside):
            continue
        count += 1
        objectness += anchors.binary_entropy(logits[place].item(), owner is not None)
        if owner is not None:
            wanted = anchors.encode(truths[owner], boxes[place], (1,) * 4)
            offsets += anchors.smooth_l1(codes[place] - wanted, [1 / 9] * 4)
    return {"loss_objectness": objectness / count, "loss_rpn_box_reg": offsets / count}


def restated_losses(case):
    heads, truths = case.cfg.MODEL.ROI_HEADS, case.target.bbox
    pyramid, levels = case.restated_levels()
    proposals = torch.cat([case.restated_proposals(levels, "TRAIN"), truths])
    thresholds = heads.FG_IOU_THRESHOLD, heads.BG_IOU_THRESHOLD
    matches = anchors.match(proposals.numpy(), truths.numpy(), *thresholds)
    used = [place for place, owner in enumerate(matches) if owner != -1]
    logits, offsets = case.restated_box_head(pyramid, proposals[used])
    entropy, regression = 0.0, 0.0
    for row, place in enumerate(used):
        owner = matches[place]
        label = 0 if owner is None else case.target.labels[owner].item()
        entropy -= logits[row].log_softmax(dim=0)[label].item()
        if owner is not None:
            codes = offsets[row, 1 if case.cfg.MODEL.CLS_AGNOSTIC_BBOX_REG else label].numpy()
            wanted = anchors.encode(truths[owner], proposals[place], heads.BBOX_REG_WEIGHTS)
            regression += anchors.smooth_l1(codes - wanted, [1.0] * 4)
    box_head = {"loss_classifier": entropy / len(used), "loss_box_reg": regression / len(used)}
    return restated_rpn_losses(case, levels) | box_head


@pytest.mark.parametrize("name", CASES)
def test_losses(name):
    case = Case(name)
    with torch.no_grad():
        expected = restated_losses(case)
        losses = case.model.train()(case.images, [case.target])
    assert {key: loss.item() for key, loss in losses.items()} == pytest.approx(expected, rel=1e-4)
    assert all(loss > 0 for loss in losses.values())
