import math

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.dense.rpn.inference import ProposalSelection, ProposalSettings

STRIDES = (8, 16)
IMAGE_HW = (30, 45)
CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))


def make_outputs(num_images=1, seed=0):
    """Random predictions on a 4 x 6 and a 2 x 3 level, two anchors a cell."""
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(num_images, channels, *hw, generator=generator)
        for channels in (2, 8)
        for hw in ((4, 6), (2, 3))
    ]
    return RPNOutputs(maps[:2], maps[2:])


def make_anchors(outputs):
    sizes = [[8, 12], [16, 24]]
    return AnchorGenerator(sizes=sizes, aspect_ratios=[1.0], strides=STRIDES)(outputs.logits)


def select(outputs, sizes=None, **changes):
    options = {
        "pre_nms_top_n": 1000,
        "nms_threshold": 0.7,
        "post_nms_top_n": 1000,
        "fpn_post_nms_top_n": 1000,
    } | changes
    image_sizes = [IMAGE_HW] * len(outputs.logits[0]) if sizes is None else sizes
    selection = ProposalSelection(ProposalSettings(**options), CODER)
    return selection(outputs, make_anchors(outputs), image_sizes)


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    inter = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return inter / (sum(areas) - inter)


def naive_level(outputs, level, image, pre_top_n, threshold, post_top_n):
    """(score, box) of the survivors of one level, best first, by plain loops."""
    anchors = make_anchors(outputs)[level].tolist()
    logits, deltas = outputs.logits[level][image], outputs.deltas[level][image]
    height, width = logits.shape[1:]
    candidates = []
    for y in range(height):
        for x in range(width):
            for a in range(2):
                x1, y1, x2, y2 = anchors[(y * width + x) * 2 + a]
                dx, dy, dw, dh = deltas[4 * a : 4 * a + 4, y, x].tolist()
                w, h = x2 - x1 + 1, y2 - y1 + 1
                cx, cy = x1 + w / 2 + dx * w, y1 + h / 2 + dy * h
                w, h = w * math.exp(dw), h * math.exp(dh)
                box = [cx - w / 2, cy - h / 2, cx + w / 2 - 1, cy + h / 2 - 1]
                limits = [IMAGE_HW[1] - 1, IMAGE_HW[0] - 1] * 2
                box = [min(max(v, 0), m) for v, m in zip(box, limits, strict=True)]
                candidates.append((logits[a, y, x].sigmoid().item(), box))
    candidates = sorted(candidates, key=lambda item: -item[0])[:pre_top_n]
    kept = []
    for score, box in candidates:
        if all(overlap(box, other) <= threshold for _, other in kept):
            kept.append((score, box))
    return kept[:post_top_n]


@pytest.mark.parametrize(
    ("limits", "threshold"), [((1000, 1000, 1000), 0.3), ((20, 5, 8), 0.5), ((7, 100, 9), 0.7)]
)
def test_equals_plain_loops(limits, threshold):
    pre_top_n, post_top_n, fpn_top_n = limits
    outputs = make_outputs()
    (proposals,) = select(
        outputs,
        pre_nms_top_n=pre_top_n,
        nms_threshold=threshold,
        post_nms_top_n=post_top_n,
        fpn_post_nms_top_n=fpn_top_n,
    )
    expected = [
        item
        for level in range(2)
        for item in naive_level(outputs, level, 0, pre_top_n, threshold, post_top_n)
    ]
    expected = sorted(expected, key=lambda item: -item[0])[:fpn_top_n]
    scores, boxes = zip(*expected, strict=True)
    assert_close(proposals.get_field("objectness"), torch.tensor(scores))
    assert_close(proposals.bbox, torch.tensor(boxes), rtol=1e-4, atol=1e-3)
    assert proposals.size == (IMAGE_HW[1], IMAGE_HW[0])
    assert proposals.fields() == ["objectness"]


def test_a_batch_is_its_images():
    outputs = make_outputs(num_images=3)
    sizes = [(30, 45), (32, 48), (20, 20)]
    together = select(outputs, sizes, fpn_post_nms_top_n=10)
    for i, proposals in enumerate(together):
        single = RPNOutputs(*([level[i : i + 1] for level in part] for part in outputs))
        (alone,) = select(single, sizes[i : i + 1], fpn_post_nms_top_n=10)
        assert torch.equal(proposals.bbox, alone.bbox)
        assert torch.equal(proposals.get_field("objectness"), alone.get_field("objectness"))


def test_a_limit_per_batch_takes_the_best_of_all_images():
    outputs = make_outputs(num_images=2)
    for logits in outputs.logits:
        logits[0] += 3
    free = select(outputs)
    limited = select(outputs, fpn_post_nms_top_n=20, per_batch=True)
    all_scores = torch.cat([boxes.get_field("objectness") for boxes in free])
    lowest = all_scores.sort(descending=True).values[19]
    for before, after in zip(free, limited, strict=True):
        scores = before.get_field("objectness")
        kept = torch.sort(scores[scores >= lowest], descending=True).values
        assert torch.equal(after.get_field("objectness").sort(descending=True).values, kept)
    assert sum(len(boxes) for boxes in limited) == 20
    assert len(limited[0]) > len(limited[1])


def test_one_level_knows_no_limit_over_levels():
    outputs = make_outputs()
    single = RPNOutputs(outputs.logits[:1], outputs.deltas[:1])
    anchors = make_anchors(outputs)[:1]
    settings = ProposalSettings(
        pre_nms_top_n=1000, nms_threshold=0.9, post_nms_top_n=12, fpn_post_nms_top_n=3
    )
    (proposals,) = ProposalSelection(settings, CODER)(single, anchors, [IMAGE_HW])
    assert len(proposals) == 12
    scores = proposals.get_field("objectness")
    assert torch.equal(scores, scores.sort(descending=True).values)


def test_small_boxes_go():
    outputs = make_outputs()
    (everything,) = select(outputs, nms_threshold=1.0)
    (large,) = select(outputs, nms_threshold=1.0, min_size=9)
    sides = everything.convert("xywh").bbox[:, 2:]
    assert 0 < len(large) < len(everything)
    assert torch.equal(large.bbox, everything.bbox[(sides >= 9).all(dim=1)])


def test_huge_codes_are_clipped_and_nan_does_not_crash():
    outputs = make_outputs()
    outputs.deltas[0][:, 2::4] = 1e4
    (proposals,) = select(outputs)
    assert proposals.bbox.isfinite().all()
    outputs.logits[1][0, 0, 0, 0] = float("nan")
    assert len(select(outputs)[0]) > 0


def test_no_images_and_maps_without_cells():
    assert select(make_outputs(num_images=0)) == []
    empty = RPNOutputs([torch.zeros(1, 2, 0, 0)] * 2, [torch.zeros(1, 8, 0, 0)] * 2)
    (proposals,) = select(empty)
    assert len(proposals) == 0
    assert proposals.has_field("objectness")
