import torch

from maskrcnn_benchmark.modeling.dense.selection import (
    Candidates,
    Selection,
    SelectionSettings,
    join_candidates,
)

SETTINGS = SelectionSettings(
    score_threshold=0.0, pre_nms_top_n=10, nms_threshold=0.5, post_nms_top_n=2
)


def make_candidates(boxes, scores, labels=None):
    """Candidates that also tell their own score as a field of two columns."""
    scores = torch.tensor(scores)
    labels = torch.ones(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    fields = {"labels": labels, "scores": scores, "twice": torch.stack([scores, scores], dim=1)}
    return Candidates(torch.tensor(boxes).reshape(-1, 4), fields)


def test_levels_are_joined_clipped_and_without_small_boxes():
    fine = make_candidates([[-3.0, 2, 5, 30], [1, 1, 2, 2]], [0.5, 0.9])
    coarse = make_candidates([[4.0, 4, 8, 8]], [0.7])
    joined = join_candidates([fine, coarse], (10, 20), min_size=3)
    assert joined.size == (20, 10)
    assert joined.bbox.tolist() == [[0, 2, 5, 9], [4, 4, 8, 8]]
    assert joined.fields() == ["labels", "scores", "twice"]
    torch.testing.assert_close(joined.get_field("twice")[:, 1], torch.tensor([0.5, 0.7]))


def test_all_fields_follow_the_best_boxes_of_all_levels():
    boxes = [[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29], [0, 0, 9, 9]]
    levels = [make_candidates(boxes[:1], [0.6], [1]), make_candidates(boxes[1:], [0.8, 0.3, 0.4])]
    levels[1].fields["labels"][2] = 2

    def decode(level, points, settings):
        assert settings is SETTINGS
        (index,) = level
        assert points == index
        return [levels[index]]

    (result,) = Selection(SETTINGS, decode)([[0, 1]], [0, 1], [(40, 40)])
    # The first box overlaps the better second one; of the other three two are wanted.
    assert result.labels.tolist() == [1, 2]
    torch.testing.assert_close(result.scores, torch.tensor([0.8, 0.4]))
    torch.testing.assert_close(result.get_field("twice"), torch.tensor([[0.8, 0.8], [0.4, 0.4]]))


def test_no_candidates_and_no_images():
    empty = make_candidates([], [])
    (result,) = Selection(SETTINGS, lambda *_: [empty])([[0]], [0], [(40, 40)])
    assert len(result) == 0
    assert result.fields() == ["labels", "scores", "twice"]
    assert Selection(SETTINGS, lambda *_: [])([[0]], [0], []) == []
