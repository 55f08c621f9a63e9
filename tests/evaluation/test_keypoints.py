"""Evaluation of keypoints by either backend."""

import json

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.evaluation import COCOEvaluator
from maskrcnn_benchmark.evaluation.coco_backends import run_coco_protocol
from maskrcnn_benchmark.evaluation.coco_format import keypoint_results
from maskrcnn_benchmark.evaluation.result import KEYPOINT_METRIC_NAMES
from maskrcnn_benchmark.evaluation.summary import select_ground_truth
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from tests.evaluation.fakes import FakeDataset, square_annotation, two_image_content

BOX = (10, 10, 40, 40)


def points_in(xywh, visibility=2, seed=0):
    """17 points, [x, y, v] each, somewhere in the box."""
    x, y, width, height = xywh
    places = np.random.default_rng(seed).random((17, 2)) * [width, height] + [x, y]
    return [value for px, py in places for value in (float(px), float(py), visibility)]


def person(id=1, image_id=11, xywh=BOX, category_id=7, **extra):
    entry = square_annotation(id, image_id, category_id, xywh)
    return {**entry, "keypoints": points_in(xywh, seed=id), **extra}


def content(*annotations):
    return two_image_content(list(annotations))


def found(annotation, shift=0.0, score=0.9, size_wh=(100, 80)):
    """The annotation as a detection, its points moved to the right."""
    x, y, width, height = annotation["bbox"]
    boxes = BoxList([[x, y, x + width - 1, y + height - 1]], (100, 80))
    boxes.add_field("labels", torch.tensor([2]))
    boxes.add_field("scores", torch.tensor([score]))
    points = torch.tensor(annotation["keypoints"]).view(1, 17, 3) + torch.tensor([shift, 0, -1])
    boxes.add_field("keypoints", PersonKeypoints(points, (100, 80)))
    return boxes.resize(size_wh)


def nothing():
    return found(person())[:0]


def evaluate(data, first, second=None, **settings):
    evaluator = COCOEvaluator(FakeDataset(data), ("bbox", "keypoints"), **settings)
    evaluator.process([11, 12], [first, nothing() if second is None else second])
    return evaluator.evaluate()


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
class TestNumbers:
    def test_the_right_points_score_100(self, backend):
        # The detections come from an image of half the size.
        result = evaluate(content(person()), found(person(), size_wh=(50, 40)), backend=backend)
        numbers = result.metrics["keypoints"]
        assert tuple(numbers) == KEYPOINT_METRIC_NAMES
        assert [numbers["AP"], numbers["ARm"]] == pytest.approx([100, 100])
        assert numbers["APl"] is None
        assert result.metrics["bbox"]["AP"] == pytest.approx(100)
        assert result.per_class["keypoints"]["dog"]["AP"] == pytest.approx(100)

    def test_points_that_are_off_score_less_than_boxes(self, backend):
        result = evaluate(content(person()), found(person(), shift=4.0), backend=backend)
        assert 0 < result.metrics["keypoints"]["AP"] < 95
        assert result.metrics["bbox"]["AP"] == pytest.approx(100)

    def test_no_detections(self, backend):
        result = evaluate(content(person()), nothing(), backend=backend)
        assert result.metrics["keypoints"]["AP"] == 0

    def test_persons_without_points_need_not_be_found(self, backend):
        bare = person(2, 12, keypoints=[0] * 51)
        result = evaluate(content(person(), bare), found(person()), backend=backend)
        assert result.metrics["keypoints"]["AP"] == pytest.approx(100)
        assert result.metrics["bbox"]["AP"] == pytest.approx(50, abs=1)
        assert result.per_class["keypoints"]["dog"]["num_gt"] == 1


def test_backends_agree():
    rng = np.random.default_rng(0)
    truth, results = [], []
    for i in range(12):
        side = float(rng.uniform(20, 110))
        one = person(i + 1, 11 + i % 2, (5.0 * i, 3.0, side, side), iscrowd=int(i == 5))
        truth.append(one)
        for _ in range(rng.integers(0, 3)):
            points = np.array(one["keypoints"]).reshape(17, 3)
            points[:, :2] += rng.normal(0, side / 15, (17, 2))
            results.append(
                {
                    "image_id": one["image_id"],
                    "category_id": 7,
                    "keypoints": points.flatten().tolist(),
                    "score": float(rng.random()),
                }
            )
    numbers = [
        run_coco_protocol(
            select_ground_truth(content(*truth), [11, 12], "keypoints").content,
            results,
            "keypoints",
            backend,
        )
        for backend in ("hotcoco", "pycocotools")
    ]
    assert 0 < numbers[0].stats[0] < 1
    np.testing.assert_allclose(numbers[0].stats, numbers[1].stats, rtol=1e-9)


def test_annotations_without_keypoints_are_left_out_and_noted():
    other = square_annotation(2, 12, 7, BOX)
    result = evaluate(content(person(), other), found(person()))
    assert result.metrics["keypoints"]["AP"] == pytest.approx(100)
    assert result.notes == ("keypoints: 1 annotation without keypoints left out",)


def test_table_has_a_row_with_names_of_its_own():
    lines = evaluate(content(person()), found(person())).table().splitlines()
    assert lines[3].split() == list(KEYPOINT_METRIC_NAMES)
    assert lines[4].split()[0] == "keypoints"


def test_result_file(tmp_path):
    evaluate(content(person()), found(person()), output_folder=tmp_path)
    (written,) = json.loads((tmp_path / "keypoints.json").read_text())
    assert written["image_id"] == 11
    assert written["category_id"] == 7
    expected = np.array(person()["keypoints"]).reshape(17, 3)
    expected[:, 2] = 1
    np.testing.assert_allclose(written["keypoints"], expected.flatten(), rtol=1e-5)
    assert written["score"] == pytest.approx(0.9)


def test_without_the_field():
    boxes = found(person()).copy_with_fields(["labels", "scores"])
    with pytest.raises(ValueError, match="'keypoints'"):
        keypoint_results(11, boxes, {2: 7})


def test_results_count_pixels_whatever_the_detections_do():
    boxes = BoxList([[0.0, 0.0, 40.0, 40.0]], (100, 80), pixel_offset=0)
    boxes.add_field("labels", torch.tensor([1]))
    boxes.add_field("scores", torch.tensor([0.9]))
    points = torch.full((1, 17, 3), 20.5)
    boxes.add_field("keypoints", PersonKeypoints(points, (100, 80), pixel_offset=0))
    (result,) = keypoint_results(11, boxes, {1: 7})
    assert result["keypoints"][:2] == [20.0, 20.0]
