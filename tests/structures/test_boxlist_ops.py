import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_iou,
    boxlist_ml_nms,
    boxlist_nms,
    cat_boxlist,
    remove_small_boxes,
)
from tests.factories import random_boxlist, target_with_masks
from tests.golden_data import golden_npz


def three_boxes(scores):
    """The first two overlap by an IoU of 0.5, the third is apart."""
    boxes = BoxList(
        [[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 4.0], [20.0, 20.0, 29.0, 29.0]], (50, 50)
    )
    boxes.add_field("scores", torch.tensor(scores))
    boxes.add_field("labels", torch.tensor([1, 2, 1]))
    boxes.add_field("index", torch.arange(3))
    return boxes


def kept(boxes):
    return boxes.get_field("index").tolist()


def iou_by_loops(first, second):
    result = torch.zeros(len(first), len(second))
    for i, (ax1, ay1, ax2, ay2) in enumerate(first.tolist()):
        for j, (bx1, by1, bx2, by2) in enumerate(second.tolist()):
            width = max(min(ax2, bx2) - max(ax1, bx1) + 1, 0)
            height = max(min(ay2, by2) - max(ay1, by1) + 1, 0)
            area_a = (ax2 - ax1 + 1) * (ay2 - ay1 + 1)
            area_b = (bx2 - bx1 + 1) * (by2 - by1 + 1)
            result[i, j] = width * height / (area_a + area_b - width * height)
    return result


def test_nms_keeps_the_better_of_two_in_the_given_order():
    assert kept(boxlist_nms(three_boxes([0.2, 0.9, 0.5]), 0.4)) == [1, 2]
    assert kept(boxlist_nms(three_boxes([0.9, 0.2, 0.5]), 0.4)) == [0, 2]


def test_nms_needs_more_than_the_threshold():
    assert kept(boxlist_nms(three_boxes([0.9, 0.2, 0.5]), 0.5)) == [0, 1, 2]


def test_nms_reads_any_mode_and_keeps_it():
    suppressed = boxlist_nms(three_boxes([0.2, 0.9, 0.5]).convert("xywh"), 0.4)
    assert kept(suppressed) == [1, 2]
    assert suppressed.mode == "xywh"


@pytest.mark.parametrize("threshold", [0.0, -1.0])
def test_nms_can_be_switched_off(threshold):
    assert kept(boxlist_nms(three_boxes([0.2, 0.9, 0.5]), threshold, max_proposals=1)) == [0, 1, 2]


def test_nms_limit_keeps_the_best_of_unsorted_boxes():
    """upstream: nms-limit."""
    assert kept(boxlist_nms(three_boxes([0.2, 0.9, 0.95]), 0.5, max_proposals=2)) == [1, 2]
    assert kept(boxlist_nms(three_boxes([0.2, 0.9, 0.9]), 0.5, max_proposals=1)) == [1]


def test_nms_limit_keeps_the_first_of_sorted_boxes():
    boxes = random_boxlist(60)
    boxes = boxes[boxes.scores.argsort(descending=True)]
    boxes.add_field("index", torch.arange(60))
    everything = kept(boxlist_nms(boxes, 0.3))
    assert len(everything) > 5
    assert kept(boxlist_nms(boxes, 0.3, max_proposals=5)) == everything[:5]


def test_ml_nms_spares_other_classes():
    boxes = three_boxes([0.9, 0.2, 0.5])
    assert kept(boxlist_ml_nms(boxes, 0.4)) == [0, 1, 2]
    boxes.add_field("labels", torch.tensor([1, 1, 1]))
    assert kept(boxlist_ml_nms(boxes, 0.4)) == [0, 2]
    assert kept(boxlist_ml_nms(boxes, 0.4, max_proposals=1)) == [0]


def test_nms_of_other_fields():
    boxes = three_boxes([0.9, 0.2, 0.5])
    boxes.add_field("objectness", torch.tensor([0.1, 0.2, 0.3]))
    boxes.add_field("group", torch.tensor([5, 5, 5]))
    assert kept(boxlist_nms(boxes, 0.4, score_field="objectness")) == [1, 2]
    assert kept(boxlist_ml_nms(boxes, 0.4, score_field="objectness", label_field="group")) == [1, 2]


@pytest.mark.golden
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7])
def test_nms_of_the_original(threshold):
    golden = {key: torch.from_numpy(value) for key, value in golden_npz("ops").items()}
    boxes = BoxList(golden["nms_boxes"], (10000, 10000))
    boxes.add_field("scores", golden["nms_scores"])
    boxes.add_field("labels", golden["nms_labels"])
    boxes.add_field("index", torch.arange(len(boxes)))
    assert kept(boxlist_nms(boxes, threshold)) == golden[f"nms_keep_{threshold}"].tolist()
    assert kept(boxlist_ml_nms(boxes, threshold)) == golden[f"ml_nms_keep_{threshold}"].tolist()


@pytest.mark.parametrize("suppress", [boxlist_nms, boxlist_ml_nms])
def test_nms_of_no_boxes(suppress):
    assert len(suppress(random_boxlist(0), 0.5, max_proposals=3)) == 0


def test_remove_small_boxes_counts_the_last_pixel():
    boxes = BoxList([[0.0, 0.0, 4.0, 9.0], [0.0, 0.0, 3.0, 9.0], [5.0, 5.0, 5.0, 5.0]], (20, 20))
    assert remove_small_boxes(boxes, 5).bbox.tolist() == [[0, 0, 4, 9]]
    # UPSTREAM(small-boxes-stay): the third box has no extent.
    assert len(remove_small_boxes(boxes, 0)) == 3
    assert len(remove_small_boxes(boxes[:0], 5)) == 0


def test_iou_agrees_with_loops():
    first, second = random_boxlist(7, seed=1), random_boxlist(5, seed=2)
    expected = iou_by_loops(first.bbox, second.bbox)
    assert_close(boxlist_iou(first, second), expected, rtol=1e-5, atol=1e-6)
    assert_close(boxlist_iou(first.convert("xywh"), second), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.golden
def test_iou_of_the_original():
    golden = golden_npz("ops")
    first, second = (BoxList(golden[name], (400, 300)) for name in ("iou_a", "iou_b"))
    assert_close(boxlist_iou(first, second), torch.from_numpy(golden["iou"]), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("num_first", "num_second"), [(0, 3), (3, 0), (0, 0)])
def test_iou_of_no_boxes(num_first, num_second):
    iou = boxlist_iou(random_boxlist(num_first), random_boxlist(num_second))
    assert iou.shape == (num_first, num_second)


def test_iou_of_different_images_is_refused():
    with pytest.raises(ValueError, match=r"\(120, 90\) and \(90, 120\)"):
        boxlist_iou(random_boxlist(1), random_boxlist(1, (90, 120)))


def test_cat_joins_boxes_and_fields_in_order():
    parts = [random_boxlist(2, seed=1), random_boxlist(0), random_boxlist(3, seed=2)]
    joined = cat_boxlist(parts)
    assert len(joined) == 5
    assert joined.size == parts[0].size
    assert_close(joined[2:].bbox, parts[2].bbox)
    assert_close(joined.scores, torch.cat([part.scores for part in parts]))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (random_boxlist(1, (90, 120)), "mode"),
        (random_boxlist(1).convert("xywh"), "mode"),
        (random_boxlist(1).copy_with_fields("labels"), "fields"),
    ],
)
def test_cat_of_unlike_lists_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        cat_boxlist([random_boxlist(1), other])


def test_cat_of_nothing_is_refused():
    with pytest.raises(ValueError, match="cat_boxlist"):
        cat_boxlist([])


def test_cat_joins_tensors_only_but_passes_one_list_on():
    target = target_with_masks(2)
    assert len(cat_boxlist([target]).get_field("masks")) == 2
    with pytest.raises(TypeError, match=r"'masks'.*SegmentationMask"):
        cat_boxlist([target, target])


def test_cat_passes_gradients():
    boxes = torch.rand(2, 4, requires_grad=True)
    cat_boxlist([BoxList(boxes, (9, 9)), BoxList(boxes * 2, (9, 9))]).bbox.sum().backward()
    assert_close(boxes.grad, torch.full((2, 4), 3.0))
