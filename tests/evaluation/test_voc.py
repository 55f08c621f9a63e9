"""VOC's mean average precision."""

import math

import pytest
import torch

from maskrcnn_benchmark.data.datasets.voc import PascalVOCDataset
from maskrcnn_benchmark.evaluation.voc import (
    ClassDetections,
    VOCEvaluator,
    average_precisions,
    match_detections,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.data import tiny_voc

DOG, PERSON = 12, 15
SIZE_WH = (10, 8)


def boxlist(boxes, **fields):
    made = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)
    for name, values in fields.items():
        made.add_field(name, torch.tensor(values))
    return made


def found(boxes, labels, scores):
    made = boxlist(boxes)
    made.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    made.add_field("scores", torch.tensor(scores, dtype=torch.float32))
    return made


def make_evaluator(tmp_path, **settings):
    annotations = {
        "1": tiny_voc.annotation(tiny_voc.entry("dog", (1, 1, 5, 5))),
        "2": tiny_voc.annotation(
            tiny_voc.entry("dog", (1, 1, 5, 5)), tiny_voc.entry("dog", (6, 1, 10, 5), difficult=1)
        ),
    }
    dataset = PascalVOCDataset(tiny_voc.write(tmp_path, annotations), "val")
    return VOCEvaluator(dataset, **settings)


def numbers(is_right, scores, num_truths):
    return average_precisions(
        ClassDetections(torch.tensor(scores), torch.tensor(is_right, dtype=torch.bool), num_truths)
    )


def test_precision_by_hand():
    # Best first: right, wrong, right; three objects. Recall 1/3, 1/3, 2/3; precision 1, 1/2, 2/3.
    area, eleven = numbers([True, False, True], [0.9, 0.8, 0.3], 3)
    assert area == pytest.approx((1 / 3 * 1 + 1 / 3 * 2 / 3) * 100)
    # Recalls of 0, 0.1, 0.2, 0.3 have 1; 0.4, 0.5, 0.6 have 2/3; the others nothing.
    assert eleven == pytest.approx((4 * 1 + 3 * 2 / 3) / 11 * 100)


def test_order_of_scores_counts_not_of_images():
    assert numbers([False, True], [0.2, 0.9], 1) == pytest.approx((100, 100))
    assert numbers([False, True], [0.9, 0.2], 1) == pytest.approx((50, 50))


def test_nothing_found_and_nothing_to_find():
    assert numbers([], [], 3) == (0, 0)
    assert numbers([False], [0.9], 0) is None


def test_matching_by_hand():
    truth = boxlist([[0, 0, 4, 4], [5, 0, 9, 4]], is_crowd=[False, True])
    detections = boxlist([[0, 0, 4, 4], [0, 0, 4, 3], [5, 0, 9, 4], [5, 0, 9, 3], [0, 6, 4, 7]])
    is_right, counts = match_detections(detections, truth)
    # Right; the same object again; a difficult one twice; nothing there.
    assert is_right.tolist() == [True, False, False, False, False]
    assert counts.tolist() == [True, True, False, False, True]


def test_an_overlap_of_one_half_is_enough():
    truth = boxlist([[0, 0, 3, 3]], is_crowd=[False])
    detections = boxlist([[0, 0, 3, 1], [0, 0, 1, 2]])
    assert match_detections(detections, truth)[0].tolist() == [True, False]


def test_difficult_objects_and_images_without_detections(tmp_path):
    """upstream: voc-ground-truth"""
    evaluator = make_evaluator(tmp_path)
    boxes = [[0, 0, 4, 4], [5, 0, 9, 4]]
    evaluator.process([1, 2], [found([], [], []), found(boxes, [DOG, DOG], [0.5, 0.9])])
    result = evaluator.evaluate()
    # One of two dogs is found; the detection of the difficult one is no mistake.
    numbers = result.metrics["voc_bbox"]
    assert numbers["AP50"] == pytest.approx(50)
    assert numbers["AP50_07"] == pytest.approx(6 / 11 * 100)
    assert result.table().splitlines()[1].split() == ["AP50", "AP50_07"]


def test_detections_of_a_resized_image_and_of_absent_classes(tmp_path):
    evaluator = make_evaluator(tmp_path, output_folder=tmp_path / "out")
    double = found([[0, 0, 8, 8], [0, 0, 8, 8]], [DOG, PERSON], [0.5, 0.9])
    both = BoxList(double.bbox, (20, 16))
    for field in double.fields():
        both.add_field(field, double.get_field(field))
    evaluator.process([1, 2], [both, both])
    result = evaluator.evaluate()
    assert result.metrics["voc_bbox"]["AP50"] == pytest.approx(100)
    lines = (tmp_path / "out" / "result.txt").read_text().splitlines()
    assert [line.split() for line in lines if line.startswith(("dog", "person"))] == [
        ["dog", "100.0", "100.0"],
        ["person", "n/a"],
    ]
    assert (tmp_path / "out" / "voc_results.json").is_file()


def test_no_objects_at_all(tmp_path):
    root = tiny_voc.write(tmp_path, {"1": tiny_voc.annotation()})
    evaluator = VOCEvaluator(PascalVOCDataset(root, "val"))
    result = evaluator.evaluate()
    assert result.metrics["voc_bbox"] == {"AP50": None, "AP50_07": None}
    assert "no ground truth" in result.table()
    assert "never went through the model" in result.table()


def test_area_equals_a_sum_over_a_fine_grid():
    generator = torch.Generator().manual_seed(0)
    is_right = torch.rand(60, generator=generator) < 0.6
    area, _ = average_precisions(
        ClassDetections(torch.linspace(1, 0, 60), is_right, int(is_right.sum()) + 4)
    )
    num_right = is_right.cumsum(0)
    recall, precision = num_right / (is_right.sum() + 4), num_right / torch.arange(1, 61)
    grid = torch.linspace(0, 1, 20001)[1:]
    heights = [precision[recall >= r].max().item() if (recall >= r).any() else 0.0 for r in grid]
    assert math.isclose(area, sum(heights) / 20000 * 100, abs_tol=0.02)
