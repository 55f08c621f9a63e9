from dataclasses import replace

import pytest
import torch

from maskrcnn_benchmark.modeling.dense.selection import Candidates, Selection, SelectionSettings
from maskrcnn_benchmark.modeling.postprocessing import keep_best
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_ml_nms, remove_small_boxes

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
    settings = replace(SETTINGS, min_size=3)
    (joined,) = Selection(settings, lambda *_: [[fine], [coarse]])([[0, 1]], [0, 1], [(10, 20)])
    assert joined.size == (20, 10)
    assert joined.bbox.tolist() == [[0, 2, 5, 9], [4, 4, 8, 8]]
    assert joined.fields() == ["labels", "scores", "twice"]
    torch.testing.assert_close(joined.get_field("twice")[:, 1], torch.tensor([0.5, 0.7]))


def test_all_fields_follow_the_best_boxes_of_all_levels():
    boxes = [[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29], [0, 0, 9, 9]]
    levels = [make_candidates(boxes[:1], [0.6], [1]), make_candidates(boxes[1:], [0.8, 0.3, 0.4])]
    levels[1].fields["labels"][2] = 2

    def decode(outputs, points, settings):
        assert settings is SETTINGS
        assert (outputs, points) == ([(0, 5), (1, 6)], [7, 8])
        return [[level] for level in levels]

    (result,) = Selection(SETTINGS, decode)([[0, 1], [5, 6]], [7, 8], [(40, 40)])
    # The first box overlaps the better second one; of the other three two are wanted.
    assert result.labels.tolist() == [1, 2]
    torch.testing.assert_close(result.scores, torch.tensor([0.8, 0.4]))
    torch.testing.assert_close(result.get_field("twice"), torch.tensor([[0.8, 0.8], [0.4, 0.4]]))


def test_no_candidates_and_no_images():
    empty = make_candidates([], [])
    (result,) = Selection(SETTINGS, lambda *_: [[empty]])([[0]], [0], [(40, 40)])
    assert len(result) == 0
    assert result.fields() == ["labels", "scores", "twice"]
    assert Selection(SETTINGS, lambda *_: [])([[0]], [0], []) == []


def step_by_step(levels, image_hw, settings):
    """The same of one image, each step leaving the boxes that the next one sees."""
    corners = torch.cat([level.boxes for level in levels])
    boxes = BoxList(corners, image_hw[::-1], pixel_offset=settings.pixel_offset)
    for name in levels[0].fields:
        boxes.add_field(name, torch.cat([level.fields[name] for level in levels]))
    boxes = remove_small_boxes(boxes.clip_to_image(remove_empty=False), settings.min_size)
    return keep_best(boxlist_ml_nms(boxes, settings.nms_threshold), settings.post_nms_top_n)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"min_size": 12},
        {"nms_threshold": 0},
        {"post_nms_top_n": 0},
        {"post_nms_top_n": 60, "pixel_offset": 0},
        {"post_nms_top_n": 500},
    ],
    ids=str,
)
@pytest.mark.parametrize("numbers", [[(70, 30)], [(40, 0), (0, 0), (25, 90)]])
def test_a_batch_has_the_boxes_that_each_image_has_step_by_step(changed, numbers):
    settings = replace(SETTINGS, **{"post_nms_top_n": 20, **changed})

    def some(number):
        corners = 90 * torch.rand(number, 2) - 10
        boxes = torch.cat([corners, corners + 40 * torch.rand(number, 2) - 3], dim=1)
        boxes[::17] = torch.nan
        # Few values, so that scores are often equal, and some that are none.
        scores = (10 * torch.rand(number)).round() / 10
        scores[::19] = torch.nan
        return make_candidates(
            boxes.tolist(), scores.tolist(), torch.randint(1, 4, (number,)).tolist()
        )

    images = [[some(number) for number in per_level] for per_level in numbers]
    sizes = [(60, 80), (50, 90), (70, 70)][: len(images)]
    decode = {level: [image[level] for image in images] for level in (0, 1)}
    found = Selection(settings, lambda *_: list(decode.values()))([[0, 1]], [0, 1], sizes)
    for boxes, levels, image_hw in zip(found, images, sizes, strict=True):
        expected = step_by_step(levels, image_hw, settings)
        assert boxes.size == expected.size
        torch.testing.assert_close(boxes.bbox, expected.bbox, rtol=0, atol=0, equal_nan=True)
        for name in expected.fields():
            mine, theirs = boxes.get_field(name), expected.get_field(name)
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
