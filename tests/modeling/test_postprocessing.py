import torch

from maskrcnn_benchmark.modeling.postprocessing import append_ground_truth, keep_best
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
