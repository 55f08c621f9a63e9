import torch

from maskrcnn_benchmark.modeling.postprocessing import (
    append_ground_truth,
    clip_detections,
    keep_best,
    sort_by_score,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList


def make_boxes(scores):
    boxes = BoxList(torch.arange(4.0 * len(scores)).reshape(-1, 4), (100, 100))
    boxes.add_field("labels", torch.ones(len(scores), dtype=torch.int64))
    boxes.add_field("scores", torch.tensor(scores))
    return boxes


def test_the_best_are_kept_in_their_order():
    kept = keep_best(make_boxes([0.1, 0.9, 0.3, 0.5]), 2)
    torch.testing.assert_close(kept.scores, torch.tensor([0.9, 0.5]))


def test_ties_at_the_cut_off_are_kept():
    # UPSTREAM(ties-at-the-limit): three boxes, although two were asked for.
    assert len(keep_best(make_boxes([0.5, 0.9, 0.5, 0.1]), 2)) == 3


def test_no_limit_and_few_boxes_keep_everything():
    boxes = make_boxes([0.1, 0.2])
    assert len(keep_best(boxes, 0)) == 2
    assert len(keep_best(boxes, 5)) == 2
    assert len(keep_best(make_boxes([]), 5)) == 0


def test_ground_truth_follows_with_score_one():
    truth = BoxList(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), (100, 100))
    truth.add_field("labels", torch.tensor([7]))
    (result,) = append_ground_truth([make_boxes([0.5])], [truth])
    assert result.labels.tolist() == [1, 7]
    assert result.scores.tolist() == [0.5, 1.0]
    assert result.bbox[1].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_image_without_ground_truth_or_proposals():
    empty = BoxList(torch.zeros(0, 4), (100, 100))
    empty.add_field("labels", torch.zeros(0, dtype=torch.int64))
    (only_proposals,) = append_ground_truth([make_boxes([0.5])], [empty])
    (nothing,) = append_ground_truth([make_boxes([])], [empty])
    assert len(only_proposals) == 1
    assert len(nothing) == 0


def test_detections_are_clipped_in_the_end_and_dropped_where_nothing_is_left():
    corners = [[-2.0, 1.0, 2.0, 3.0], [9.0, 0.0, 12.0, 4.0], [3.0, 3.0, 3.0, 6.0]]
    boxes = BoxList(corners, (8, 8), pixel_offset=0)
    boxes.add_field("scores", torch.tensor([0.3, 0.2, 0.1]))
    boxes.add_field("mask", torch.ones(3, 1, 2, 2))
    clipped = clip_detections(boxes)
    assert clipped.bbox.tolist() == [[0.0, 1.0, 2.0, 3.0]]
    # The whole mask lies in what is left of the box.
    assert clipped.predicted_masks.boxes.tolist() == clipped.bbox.tolist()
    assert clipped.predicted_masks.planes().sum() == 4
    assert len(clip_detections(boxes[:0])) == 0


def test_order_by_score():
    ordered = sort_by_score(make_boxes([0.1, 0.9, 0.9, 0.5]))
    torch.testing.assert_close(ordered.scores, torch.tensor([0.9, 0.9, 0.5, 0.1]))
    assert ordered.bbox[:, 0].tolist() == [4.0, 8.0, 12.0, 0.0]
