import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetOutputs
from maskrcnn_benchmark.modeling.dense.retinanet.inference import decode_levels
from maskrcnn_benchmark.modeling.dense.selection import Selection, SelectionSettings

STRIDES = (8, 16)
IMAGE_HW = (30, 45)
NUM_FOREGROUND = 3
NUM_ANCHORS = 2


def make_outputs(num_images=1, seed=0):
    """Random predictions on a 4 x 6 and a 2 x 3 level, two anchors a cell."""
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(num_images, NUM_ANCHORS * width, *hw, generator=generator)
        for width in (NUM_FOREGROUND, 4)
        for hw in ((4, 6), (2, 3))
    ]
    return RetinaNetOutputs(maps[:2], maps[2:])


def make_anchors(outputs):
    sizes = [[8, 12], [16, 24]]
    return AnchorGenerator(sizes=sizes, aspect_ratios=[1.0], strides=STRIDES)(outputs.logits)


def select(outputs, sizes=None, **changes):
    options = {
        "score_threshold": 0.5,
        "pre_nms_top_n": 1000,
        "nms_threshold": 0.4,
        "post_nms_top_n": 1000,
    } | changes
    image_sizes = [IMAGE_HW] * len(outputs.logits[0]) if sizes is None else sizes
    decode = partial(decode_levels, coder=BoxCoder((10.0, 10.0, 5.0, 5.0)))
    selection = Selection(SelectionSettings(**options), decode)
    return selection(outputs, make_anchors(outputs), image_sizes)


def naive_candidates(outputs, level, threshold, top_n):
    """(score, label, box) of the best candidates of one level, by plain loops."""
    anchors = make_anchors(outputs)[level].tolist()
    logits, deltas = outputs.logits[level][0], outputs.deltas[level][0]
    height, width = logits.shape[1:]
    candidates = []
    for y in range(height):
        for x in range(width):
            for a in range(NUM_ANCHORS):
                x1, y1, x2, y2 = anchors[(y * width + x) * NUM_ANCHORS + a]
                dx, dy, dw, dh = deltas[4 * a : 4 * a + 4, y, x].tolist()
                w, h = x2 - x1 + 1, y2 - y1 + 1
                cx, cy = x1 + w / 2 + dx / 10 * w, y1 + h / 2 + dy / 10 * h
                w, h = w * math.exp(dw / 5), h * math.exp(dh / 5)
                box = [cx - w / 2, cy - h / 2, cx + w / 2 - 1, cy + h / 2 - 1]
                limits = [IMAGE_HW[1] - 1, IMAGE_HW[0] - 1] * 2
                box = [min(max(v, 0), m) for v, m in zip(box, limits, strict=True)]
                for c in range(NUM_FOREGROUND):
                    score = logits[NUM_FOREGROUND * a + c, y, x].sigmoid().item()
                    if score > threshold:
                        candidates.append((score, c + 1, box))
    return sorted(candidates, key=lambda item: -item[0])[:top_n]


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    inter = max(width, 0) * max(height, 0)
    return inter / (sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)) - inter)


@pytest.mark.parametrize(
    ("score_threshold", "pre_top_n", "post_top_n"), [(0.5, 1000, 1000), (0.3, 20, 12), (0.9, 5, 5)]
)
def test_equals_plain_loops(score_threshold, pre_top_n, post_top_n):
    outputs = make_outputs()
    (detections,) = select(
        outputs,
        score_threshold=score_threshold,
        pre_nms_top_n=pre_top_n,
        post_nms_top_n=post_top_n,
    )
    candidates = [
        item
        for level in range(2)
        for item in naive_candidates(outputs, level, score_threshold, pre_top_n)
    ]
    kept = []
    for score, label, box in sorted(candidates, key=lambda item: -item[0]):
        if all(other[1] != label or overlap(box, other[2]) <= 0.4 for other in kept):
            kept.append((score, label, box))
    scores, labels, boxes = zip(*kept[:post_top_n], strict=True)
    order = detections.scores.argsort(descending=True)
    assert_close(detections.scores[order], torch.tensor(scores))
    assert detections.labels[order].tolist() == list(labels)
    assert_close(detections.bbox[order], torch.tensor(boxes), rtol=1e-4, atol=1e-3)


def test_a_batch_is_its_images():
    outputs = make_outputs(num_images=3)
    sizes = [(30, 45), (32, 48), (20, 20)]
    for i, detections in enumerate(select(outputs, sizes)):
        single = RetinaNetOutputs(*([level[i : i + 1] for level in part] for part in outputs))
        (alone,) = select(single, sizes[i : i + 1])
        assert torch.equal(detections.bbox, alone.bbox)
        assert torch.equal(detections.scores, alone.scores)
        assert detections.size == (sizes[i][1], sizes[i][0])


def test_nothing_above_the_threshold_and_no_images():
    (detections,) = select(make_outputs(), score_threshold=1.0)
    assert len(detections) == 0
    assert detections.labels.dtype == torch.int64
    assert select(make_outputs(num_images=0)) == []
