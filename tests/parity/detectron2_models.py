"""Small models under detectron2's names and rules, restated from a state dict in plain calls."""

import re

import numpy as np
import torch
import torch.nn.functional as F

from tests.parity import restated_detectron2 as rules

NUM_FOREGROUND, NUM_POINTS, SIZE_HW = 3, 17, (75, 90)
RATIOS = (0.5, 1.0, 2.0)
CHANNELS, FC_DIM, MASK_CHANNELS, POINT_CHANNELS = 32, 64, 16, 16
TOP_N, NUM_PROPOSALS, RPN_NMS, NMS, SCORE_THRESHOLD = 30, 25, 0.7, 0.5, 0.05


def small_settings():
    """Options that make a shipped configuration small."""
    options = {
        "MODEL.NUM_CLASSES": NUM_FOREGROUND + 1,
        "MODEL.ROI_BOX_HEAD.NUM_CLASSES": NUM_FOREGROUND + 1,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
        "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": CHANNELS,
        "MODEL.RPN.PRE_NMS_TOP_N_TEST": TOP_N,
        "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST": NUM_PROPOSALS,
        "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": FC_DIM,
        "MODEL.ROI_MASK_HEAD.CONV_LAYERS": (MASK_CHANNELS,) * 2,
        "MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS": (POINT_CHANNELS,) * 2,
        "MODEL.RETINANET.NUM_CONVS": 2,
        "MODEL.RETINANET.PRE_NMS_TOP_N": TOP_N,
    }
    return [word for pair in options.items() for word in pair]


def their_body(state_dict):
    """Names and shapes of a body as detectron2 has them, from ours."""
    shapes = {}
    for name, value in state_dict.items():
        if name.startswith("backbone.body."):
            inside = name.removeprefix("backbone.body.").replace("bn1.", "conv1.norm.")
            inside = re.sub(r"bn(\d)\.", r"conv\1.norm.", inside)
            inside = re.sub(r"downsample\.0\.", "shortcut.", inside)
            inside = re.sub(r"downsample\.1\.", "shortcut.norm.", inside)
            inside = re.sub(r"layer(\d)", lambda found: f"res{int(found[1]) + 1}", inside)
            shapes[f"backbone.bottom_up.{inside}"] = tuple(value.shape)
    return shapes


def _conv(name, outputs, inputs, side):
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def _linear(name, outputs, inputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _pyramid(body_channels, first):
    shapes = {}
    for level, channels in enumerate(body_channels, first):
        shapes |= _conv(f"backbone.fpn_lateral{level}", CHANNELS, channels, 1)
        shapes |= _conv(f"backbone.fpn_output{level}", CHANNELS, CHANNELS, 3)
    return shapes


def two_stage_shapes(heads):
    """Names and shapes behind the body of Faster R-CNN and the further ``heads``."""
    rpn, box = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    shapes = _pyramid((16, 32, 64, 128), 2)
    shapes |= _conv(f"{rpn}.conv", CHANNELS, CHANNELS, 3)
    shapes |= _conv(f"{rpn}.objectness_logits", len(RATIOS), CHANNELS, 1)
    shapes |= _conv(f"{rpn}.anchor_deltas", 4 * len(RATIOS), CHANNELS, 1)
    shapes |= _linear("roi_heads.box_head.fc1", FC_DIM, CHANNELS * 49)
    shapes |= _linear("roi_heads.box_head.fc2", FC_DIM, FC_DIM)
    shapes |= _linear(f"{box}.cls_score", NUM_FOREGROUND + 1, FC_DIM)
    shapes |= _linear(f"{box}.bbox_pred", 4 * NUM_FOREGROUND, FC_DIM)
    if "mask" in heads:
        head = "roi_heads.mask_head"
        shapes |= _conv(f"{head}.mask_fcn1", MASK_CHANNELS, CHANNELS, 3)
        shapes |= _conv(f"{head}.mask_fcn2", MASK_CHANNELS, MASK_CHANNELS, 3)
        shapes |= _conv(f"{head}.deconv", MASK_CHANNELS, MASK_CHANNELS, 2)
        shapes |= _conv(f"{head}.predictor", NUM_FOREGROUND, MASK_CHANNELS, 1)
    if "keypoint" in heads:
        head = "roi_heads.keypoint_head"
        shapes |= _conv(f"{head}.conv_fcn1", POINT_CHANNELS, CHANNELS, 3)
        shapes |= _conv(f"{head}.conv_fcn2", POINT_CHANNELS, POINT_CHANNELS, 3)
        shapes |= {f"{head}.score_lowres.weight": (POINT_CHANNELS, NUM_POINTS, 4, 4)}
        shapes |= {f"{head}.score_lowres.bias": (NUM_POINTS,)}
    return shapes


def retinanet_shapes():
    """Names and shapes behind the body of RetinaNet."""
    shapes = _pyramid((32, 64, 128), 3)
    shapes |= _conv("backbone.top_block.p6", CHANNELS, 128, 3)
    shapes |= _conv("backbone.top_block.p7", CHANNELS, CHANNELS, 3)
    for tower in ("cls_subnet", "bbox_subnet"):
        for index in (0, 2):
            shapes |= _conv(f"head.{tower}.{index}", CHANNELS, CHANNELS, 3)
    shapes |= _conv("head.cls_score", 9 * NUM_FOREGROUND, CHANNELS, 3)
    return shapes | _conv("head.bbox_pred", 9 * 4, CHANNELS, 3)


def draw_weights(shapes):
    """Seeded tensors of some shapes, under which boxes of several classes are found."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            weights[name] = torch.exp(0.2 * noise)
        elif len(shape) == 1:
            is_scale = name.endswith("norm.weight")
            weights[name] = torch.exp(0.1 * noise) if is_scale else 0.1 * noise
        else:
            inputs = (0,) if "deconv" in name or "lowres" in name else tuple(range(1, len(shape)))
            fan_in = np.prod([shape[dim] for dim in inputs])
            gain = 1.5 if re.search(r"cls_score|predictor\.w|lowres", name) else 1.7
            gain = 0.6 if "backbone.fpn" in name else gain
            gain = 0.3 if re.search(r"anchor_deltas|bbox_pred|shortcut", name) else gain
            gain = gain / 2000 if name.startswith("backbone.bottom_up.stem") else gain
            weights[name] = (noise - noise.mean(inputs, keepdim=True)) * gain / np.sqrt(fan_in)
    return weights


class Restated:
    """What detectron2 computes of the maps of a body, one anchor, roi and class at a time.

    Args:
        weights: state dict under its names.
        body: maps C2..C5 of one image.
    """

    def __init__(self, weights, body):
        self.weights = weights
        self.body = body

    def conv(self, name, x, stride=1):
        weight = self.weights[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, self.weights[f"{name}.bias"], stride=stride, padding=padding)

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def pyramid(self, first):
        inner, maps = None, []
        for level in range(5, first - 1, -1):
            lateral = self.conv(f"backbone.fpn_lateral{level}", self.body[level - 2])
            if inner is not None:
                lateral = lateral + inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            inner = lateral
            maps.insert(0, self.conv(f"backbone.fpn_output{level}", inner))
        return maps

    def proposals(self, pyramid):
        """(K, 4), best first."""
        head = "proposal_generator.rpn_head"
        boxes, scores, levels = [], [], []
        maps = [*pyramid, pyramid[-1][:, :, ::2, ::2]]
        for level, (x, size) in enumerate(zip(maps, (32, 64, 128, 256, 512), strict=True)):
            hidden = self.conv(f"{head}.conv", x).relu()
            logits = self.conv(f"{head}.objectness_logits", hidden)[0].permute(1, 2, 0).flatten()
            deltas = self.conv(f"{head}.anchor_deltas", hidden)[0].permute(1, 2, 0).reshape(-1, 4)
            anchors = rules.level_anchors(*x.shape[2:], 4 * 2**level, [size], RATIOS)
            for place in logits.argsort(descending=True)[:TOP_N].tolist():
                box = rules.decode(deltas[place].tolist(), anchors[place], (1,) * 4)
                box = rules.clipped(box, SIZE_HW)
                if box[2] > box[0] and box[3] > box[1]:
                    boxes.append(box)
                    scores.append(float(logits[place]))
                    levels.append(level)
        kept = rules.suppress(boxes, scores, levels, RPN_NMS)[:NUM_PROPOSALS]
        return [boxes[place] for place in kept]

    def pool(self, pyramid, box, side):
        level = rules.pooling_level(box, 2, 5)
        return rules.align(pyramid[level - 2][0], box, 2**level, side)

    def detections(self, pyramid):
        """Boxes, scores and classes from 0, best first."""
        found = []
        for proposal in self.proposals(pyramid):
            x = self.pool(pyramid, proposal, 7).flatten()
            x = self.linear("roi_heads.box_head.fc1", x).relu()
            x = self.linear("roi_heads.box_head.fc2", x).relu()
            probs = self.linear("roi_heads.box_predictor.cls_score", x).softmax(0)[:-1]
            deltas = self.linear("roi_heads.box_predictor.bbox_pred", x).view(-1, 4)
            for label in range(NUM_FOREGROUND):
                if probs[label] > SCORE_THRESHOLD:
                    box = rules.decode(deltas[label].tolist(), proposal, (10, 10, 5, 5))
                    found.append((rules.clipped(box, SIZE_HW), float(probs[label]), label))
        boxes, scores, labels = map(list, zip(*found, strict=True))
        kept = rules.suppress(boxes, scores, labels, NMS)[:100]
        return [[part[place] for place in kept] for part in (boxes, scores, labels)]

    def mask(self, pyramid, box, label):
        """(28, 28) probabilities."""
        head, x = "roi_heads.mask_head", self.pool(pyramid, box, 14)[None]
        for name in ("mask_fcn1", "mask_fcn2"):
            x = self.conv(f"{head}.{name}", x).relu()
        deconv = (self.weights[f"{head}.deconv.{part}"] for part in ("weight", "bias"))
        x = F.conv_transpose2d(x, *deconv, stride=2).relu()
        return self.conv(f"{head}.predictor", x)[0, label].sigmoid()

    def keypoints(self, pyramid, box):
        """x, y and logit (P, 3)."""
        head, x = "roi_heads.keypoint_head", self.pool(pyramid, box, 14)[None]
        for name in ("conv_fcn1", "conv_fcn2"):
            x = self.conv(f"{head}.{name}", x).relu()
        deconv = (self.weights[f"{head}.score_lowres.{part}"] for part in ("weight", "bias"))
        x = F.conv_transpose2d(x, *deconv, stride=2, padding=1)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return rules.locate_keypoints(x[0], box)

    def dense_detections(self):
        """Those of RetinaNet: boxes, scores and classes from 0, best first."""
        maps = self.pyramid(3)
        maps.append(self.conv("backbone.top_block.p6", self.body[-1], stride=2))
        maps.append(self.conv("backbone.top_block.p7", maps[-1].relu(), stride=2))
        found = []
        for level, x in enumerate(maps):
            sizes = [32 * 2**level * 2 ** (third / 3) for third in range(3)]
            anchors = rules.level_anchors(*x.shape[2:], 8 * 2**level, sizes, RATIOS)
            scores, deltas = (self._tower(kind, x) for kind in ("cls", "bbox"))
            scores = scores.view(-1, NUM_FOREGROUND).sigmoid()
            deltas = deltas.view(-1, 4)
            for place in scores.flatten().argsort(descending=True)[:TOP_N].tolist():
                anchor, label = divmod(place, NUM_FOREGROUND)
                if scores[anchor, label] > SCORE_THRESHOLD:
                    box = rules.decode(deltas[anchor].tolist(), anchors[anchor], (1,) * 4)
                    found.append((box, float(scores[anchor, label]), label))
        boxes, scores, labels = map(list, zip(*found, strict=True))
        kept = rules.suppress(boxes, scores, labels, NMS)[:100]
        boxes, scores, labels = ([part[i] for i in kept] for part in (boxes, scores, labels))
        boxes = [rules.clipped(box, SIZE_HW) for box in boxes]
        inside = [i for i, box in enumerate(boxes) if box[2] > box[0] and box[3] > box[1]]
        return [[part[i] for i in inside] for part in (boxes, scores, labels)]

    def _tower(self, kind, x):
        for index in (0, 2):
            x = self.conv(f"head.{kind}_subnet.{index}", x).relu()
        name = {"cls": "head.cls_score", "bbox": "head.bbox_pred"}[kind]
        return self.conv(name, x)[0].permute(1, 2, 0).flatten()
