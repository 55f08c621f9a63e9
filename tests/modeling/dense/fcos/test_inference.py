import math

import torch

from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.fcos.inference import ROOT, decode_boxes, decode_levels
from maskrcnn_benchmark.modeling.dense.fcos.locations import compute_locations
from maskrcnn_benchmark.modeling.dense.selection import Selection, SelectionSettings

STRIDES = (8, 16)
NUM_FOREGROUND = 3


def logit(probability):
    return math.log(probability / (1 - probability))


def make_outputs(num_images=1, seed=0):
    """Random predictions on a 4 x 6 and a 2 x 3 level."""
    generator = torch.Generator().manual_seed(seed)

    def draw(channels):
        sizes = [(4, 6), (2, 3)]
        return [torch.randn(num_images, channels, *hw, generator=generator) for hw in sizes]

    return FCOSOutputs(draw(NUM_FOREGROUND), [m.mul(8).exp2() for m in draw(4)], draw(1))


def select(outputs, image_sizes, **changes):
    options = {
        "score_threshold": 0.3,
        "pre_nms_top_n": 1000,
        "nms_threshold": 0.6,
        "post_nms_top_n": 50,
    } | changes
    selection = Selection(SelectionSettings(**options), decode_levels)
    return selection(outputs, compute_locations(outputs.logits, STRIDES, 1), image_sizes)


def naive_candidates(outputs, image, threshold, image_hw):
    """(label, score, box) of every candidate before NMS, by plain loops."""
    result = []
    for level, stride in enumerate(STRIDES):
        _, _, height, width = outputs.logits[level].shape
        for y in range(height):
            for x in range(width):
                for c in range(NUM_FOREGROUND):
                    prob = outputs.logits[level][image, c, y, x].sigmoid().item()
                    if prob <= threshold:
                        continue
                    score = prob * outputs.centerness[level][image, 0, y, x].sigmoid().item()
                    cx, cy = x * stride + stride // 2, y * stride + stride // 2
                    left, top, right, bottom = outputs.ltrb[level][image, :, y, x].tolist()
                    max_x, max_y = image_hw[1] - 1, image_hw[0] - 1
                    box = [cx - left, cy - top, cx + right, cy + bottom]
                    limits = [max_x, max_y, max_x, max_y]
                    box = [min(max(v, 0), m) for v, m in zip(box, limits, strict=True)]
                    result.append((c + 1, score, box))
    return sorted(result, key=lambda candidate: -candidate[1])


def as_sorted_list(boxlist):
    order = boxlist.scores.argsort(descending=True)
    rows = zip(
        boxlist.labels[order].tolist(),
        boxlist.scores[order].tolist(),
        boxlist.bbox[order].tolist(),
        strict=True,
    )
    return list(rows)


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for (label, score, box), (label_0, score_0, box_0) in zip(actual, expected, strict=True):
        assert label == label_0
        assert math.isclose(score, score_0, rel_tol=1e-5)
        expected_box = torch.tensor(box_0, dtype=torch.float32)
        torch.testing.assert_close(torch.tensor(box), expected_box, rtol=1e-5, atol=1e-4)


def test_candidates_equal_plain_loops():
    outputs = make_outputs(num_images=2)
    results = select(outputs, [(30, 44), (32, 48)], nms_threshold=1.0, post_nms_top_n=0)
    for image, hw in enumerate([(30, 44), (32, 48)]):
        assert results[image].size == (hw[1], hw[0])
        assert_same(as_sorted_list(results[image]), naive_candidates(outputs, image, 0.3, hw))


def test_threshold_applies_to_the_class_probability_before_centerness():
    # UPSTREAM(threshold-before-centerness): 0.4 with centerness 0.1 passes a threshold of 0.3.
    outputs = make_outputs()
    for level in range(2):
        outputs.logits[level].fill_(logit(0.01))
        outputs.centerness[level].fill_(logit(0.1))
    outputs.logits[0][0, 1, 2, 3] = logit(0.4)
    (result,) = select(outputs, [(32, 48)])
    assert result.labels.tolist() == [2]
    torch.testing.assert_close(result.scores, torch.tensor([0.04]))


def test_top_n_is_taken_on_each_level():
    outputs = make_outputs(seed=3)
    (result,) = select(
        outputs, [(32, 48)], pre_nms_top_n=2, nms_threshold=1.0, score_threshold=0.01
    )
    assert len(result) == 4
    best = naive_candidates(outputs, 0, 0.01, (32, 48))[0]
    assert_same(as_sorted_list(result)[:1], [best])


def test_nms_is_per_class_and_order_does_not_matter():
    outputs = make_outputs()
    for level in range(2):
        outputs.logits[level].fill_(logit(0.01))
        outputs.centerness[level].zero_()
        outputs.ltrb[level].fill_(10)
    outputs.logits[0][0, 0, 1, 1] = logit(0.8)
    outputs.logits[0][0, 0, 1, 2] = logit(0.9)  # the same class next to it
    outputs.logits[0][0, 2, 1, 1] = logit(0.7)  # another class in the same place
    (result,) = select(outputs, [(32, 48)], nms_threshold=0.3)
    kept = sorted(zip(result.labels.tolist(), result.scores.tolist(), strict=True))
    assert [label for label, _ in kept] == [1, 3]
    assert math.isclose(kept[0][1], 0.45, rel_tol=1e-5)


def test_limit_keeps_the_best():
    outputs = make_outputs(seed=5)
    (everything,) = select(outputs, [(32, 48)], post_nms_top_n=0)
    (limited,) = select(outputs, [(32, 48)], post_nms_top_n=3)
    assert_same(as_sorted_list(limited), as_sorted_list(everything)[:3])


def test_batch_of_two_equals_two_singles():
    both = make_outputs(num_images=2, seed=8)
    results = select(both, [(32, 48), (28, 40)])
    for image, hw in enumerate([(32, 48), (28, 40)]):
        maps = [[level[image : image + 1] for level in levels] for levels in both]
        (single,) = select(FCOSOutputs(*maps), [hw])
        torch.testing.assert_close(single.bbox, results[image].bbox)
        torch.testing.assert_close(single.scores, results[image].scores)


def test_no_candidate_leaves_an_empty_list_with_all_fields():
    outputs = make_outputs()
    for level in outputs.logits:
        level.fill_(-20)
    (result,) = select(outputs, [(32, 48)])
    assert len(result) == 0
    assert set(result.fields()) == {"labels", "scores"}


def test_no_gradient_flows_through_the_selection():
    outputs = make_outputs()
    for levels in outputs:
        for level in levels:
            level.requires_grad_()
    (result,) = select(outputs, [(32, 48)])
    assert not result.bbox.requires_grad
    assert not result.scores.requires_grad


def test_decode_inverts_the_distances():
    locations = torch.tensor([[10.0, 20.0]])
    boxes = decode_boxes(locations, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert boxes.tolist() == [[9.0, 18.0, 13.0, 24.0]]


def test_the_threshold_may_be_one_of_scores():
    """Class probability 0.9 and centerness 0.4 or 0.1: scores 0.6 and 0.3."""
    outputs = FCOSOutputs(
        [torch.full((1, 1, 1, 2), logit(0.9))],
        [torch.ones(1, 4, 1, 2)],
        [torch.tensor([logit(0.4), logit(0.1)]).view(1, 1, 1, 2)],
    )
    settings = SelectionSettings(
        score_threshold=0.5, pre_nms_top_n=9, nms_threshold=0.6, post_nms_top_n=9
    )
    locations = compute_locations(outputs.logits, (8,), 1)[0]
    level = [field[0] for field in outputs]
    ((all_found,),) = decode_levels([level], [locations], settings, score=ROOT)
    assert len(all_found.boxes) == 2
    ((found,),) = decode_levels([level], [locations], settings, score=ROOT, limits_score=True)
    torch.testing.assert_close(found.fields["scores"], torch.tensor([0.6]))
    assert found.boxes.tolist() == [[3, 3, 5, 5]]
