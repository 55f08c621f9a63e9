"""The rules of CenterMask, restated with one box, location or roi at a time.

Takes nothing from the package, so that both can only agree by saying the same. The cases that use
it take bodies and rasterised outlines from there, which have reference outputs of their own.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

SIZE_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, math.inf))


class Found(NamedTuple):
    """Detections of one image: (K, 4) boxes, (K,) scores and labels; (K, M, M), (K,) or None."""

    boxes: Any
    scores: Any
    labels: Any
    masks: Any = None
    mask_scores: Any = None


def locations(num_rows, num_columns, stride, points):
    """(x, y) of all points of a level."""
    quarter = stride // 4
    corners = [(-quarter, -quarter), (quarter, -quarter), (-quarter, quarter), (quarter, quarter)]
    offsets = {1: [(0, 0)], 4: corners, 5: [*corners[:2], (0, 0), *corners[2:]]}[points]
    return [
        (column * stride + stride // 2 + dx, row * stride + stride // 2 + dy)
        for row in range(num_rows)
        for column in range(num_columns)
        for dx, dy in offsets
    ]


def inclusive_iou(box, boxes):
    """IoU of one box with each of several, last pixels included."""
    left_top = np.maximum(box[:2], boxes[:, :2])
    right_bottom = np.minimum(box[2:], boxes[:, 2:])
    overlap = np.clip(right_bottom - left_top + 1, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    return overlap / ((box[2:] - box[:2] + 1).prod() + areas - overlap)


def suppress(boxes, scores, labels, threshold):
    """Indices of the boxes that greedy suppression within each class leaves."""
    kept = []
    for candidate in np.argsort(-scores, kind="stable"):
        rivals = [other for other in kept if labels[other] == labels[candidate]]
        if not rivals or inclusive_iou(boxes[candidate], boxes[rivals]).max() <= threshold:
            kept.append(candidate)
    return np.array(sorted(kept), dtype=int)


def candidates(outputs, points, fcos, image_hw):
    """Boxes, scores and labels of one image on one level."""
    logits, distances, centerness = outputs
    probs = logits.sigmoid()
    places, classes = torch.nonzero(probs > fcos.INFERENCE_TH, as_tuple=True)
    scores = probs[places, classes] * centerness.sigmoid()[places]
    best = scores.argsort(descending=True)[: fcos.PRE_NMS_TOP_N]
    height, width = image_hw
    boxes = []
    for place in places[best].tolist():
        (x, y), (left, top, right, bottom) = points[place], distances[place].tolist()
        box = (x - left, y - top, x + right, y + bottom)
        limits = (width - 1, height - 1) * 2
        boxes.append([min(max(value, 0), limit) for value, limit in zip(box, limits, strict=True)])
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return boxes, scores[best].numpy(), classes[best].numpy() + 1


def select(outputs, points, fcos, image_hw, limit):
    """The detections of one image, over all levels."""
    levels = [
        candidates(level, level_points, fcos, image_hw)
        for level, level_points in zip(outputs, points, strict=True)
    ]
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    kept = suppress(boxes, scores, labels, fcos.NMS_TH)
    if len(kept) > limit > 0:
        kept = kept[scores[kept] >= np.sort(scores[kept])[-limit]]
    return Found(*(torch.from_numpy(part[kept]) for part in (boxes, scores, labels)))


def pooling_level(box, image_hw, head):
    """Index of the map that a box is pooled from."""
    finest, coarsest = (-math.log2(head.POOLER_SCALES[end]) for end in (0, -1))
    left, top, right, bottom = box.tolist()
    area = (right - left + 1) * (bottom - top + 1)
    if head.LEVEL_MAP_FUNCTION == "CenterMaskLevelMapFunc":
        level = math.ceil(coarsest - math.log2(math.prod(image_hw) / area + 1e-6))
    else:
        level = math.floor(4 + math.log2(math.sqrt(area) / 224 + 1e-6))
    return int(min(max(level, finest), coarsest) - finest)


def location_target(x, y, boxes, stride, size_range, fcos):
    """Index of the ground truth that a location learns and the distances, or None."""
    best = None
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        distances = (x - x1, y - y1, x2 - x, y2 - y)
        inside = min(distances) > 0
        if fcos.CENTER_SAMPLE:
            reach, middle_x, middle_y = stride * fcos.POS_RADIUS, (x1 + x2) / 2, (y1 + y2) / 2
            inside = max(middle_x - reach, x1) < x < min(middle_x + reach, x2) and max(
                middle_y - reach, y1
            ) < y < min(middle_y + reach, y2)
        area = (x2 - x1 + 1) * (y2 - y1 + 1)
        fits = size_range[0] <= max(distances) <= size_range[1]
        if inside and fits and (best is None or area < best[0]):
            best = (area, index, distances)
    return best and best[1:]


def focal_loss(logits, is_true, gamma, alpha):
    """Sum over all entries."""
    x = logits.double()
    p = x.sigmoid()
    positive = -alpha * (1 - p) ** gamma * F.logsigmoid(x)
    negative = -(1 - alpha) * p**gamma * F.logsigmoid(-x)
    return torch.where(is_true, positive, negative).sum()


def box_loss(predicted, target, kind):
    """Loss of one location, from the distances to the sides."""
    left, top, right, bottom = (min(p, t) for p, t in zip(predicted, target, strict=True))
    overlap = (left + right) * (top + bottom)
    areas = [(d[0] + d[2]) * (d[1] + d[3]) for d in (predicted, target)]
    union = sum(areas) - overlap
    iou = (overlap + 1) / (union + 1)
    if kind == "iou":
        return -math.log(iou)
    if kind == "linear_iou":
        return 1 - iou
    left, top, right, bottom = (max(p, t) for p, t in zip(predicted, target, strict=True))
    enclosing = (left + right) * (top + bottom) + 1e-7
    return 1 - (iou - (enclosing - union) / enclosing)


def centerness(left, top, right, bottom):
    """Target of a positive location."""
    horizontal = min(left, right) / max(left, right)
    return math.sqrt(horizontal * min(top, bottom) / max(top, bottom))


def fcos_losses(outputs, points, truths, fcos):
    """Losses of the proposal stage; ``truths`` has (boxes, labels) of each image."""
    classification, boxes, weights, centers = 0.0, [], [], []
    for image, (truth_boxes, truth_labels) in enumerate(truths):
        for (logits, distances, center_logits), level_points, stride, size_range in zip(
            outputs, points, fcos.FPN_STRIDES, SIZE_RANGES, strict=True
        ):
            is_true = torch.zeros_like(logits[image], dtype=torch.bool)
            for place, (x, y) in enumerate(level_points):
                found = location_target(x, y, truth_boxes, stride, size_range, fcos)
                if found is None:
                    continue
                index, target = found
                is_true[place, truth_labels[index] - 1] = True
                predicted = distances[image, place].tolist()
                boxes.append(box_loss(predicted, target, fcos.LOC_LOSS_TYPE))
                weights.append(centerness(*target))
                centers.append(center_logits[image, place].item())
            classification += focal_loss(
                logits[image], is_true, fcos.LOSS_GAMMA, fcos.LOSS_ALPHA
            ).item()
    entropies = [
        max(x, 0) - x * w + math.log1p(math.exp(-abs(x)))
        for x, w in zip(centers, weights, strict=True)
    ]
    weighted = sum(b * w for b, w in zip(boxes, weights, strict=True))
    return {
        "loss_cls": classification / (len(boxes) + len(truths)),
        "loss_reg": weighted / sum(weights) if boxes else 0.0,
        "loss_centerness": sum(entropies) / max(len(boxes), 1),
    }


def mask_iou_loss(predicted, probs, masks, ratios):
    """Half the mean square over rois whose mask overlaps the object."""
    squares = []
    for iou, prob, mask, ratio in zip(predicted, probs, masks, ratios, strict=True):
        is_set = prob > 0.5
        overlap = (is_set & mask).sum().item()
        union = is_set.sum().item() + mask.sum().item() / ratio.item() - overlap
        if overlap > 0:
            squares.append((iou.item() - overlap / max(union, 1)) ** 2)
    return 0.5 * sum(squares) / max(len(squares), 1)
