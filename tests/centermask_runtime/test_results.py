import json

import torch

from centermask_runtime.results import ResultFile
from maskrcnn_benchmark.engine.detections import Detections
from maskrcnn_benchmark.structures.bounding_box import BoxList


def found(num_boxes, *, masks=False):
    boxes = BoxList(torch.tensor([[2.0, 1.0, 5.0, 6.0]]).repeat(num_boxes, 1), (12, 10))
    boxes.add_field("labels", torch.full((num_boxes,), 2))
    boxes.add_field("scores", torch.full((num_boxes,), 0.75))
    if masks:
        boxes.add_field("mask", torch.ones(num_boxes, 1, 28, 28))
    return Detections(boxes, {1: "cat", 2: "dog"}, {1: 7, 2: 9})


def test_results_name_photo_and_class(tmp_path):
    results = ResultFile(tmp_path / "r.json")
    results.add("a.jpg", found(0))
    results.add("b.jpg", found(1))
    assert not (tmp_path / "r.json").exists()
    results.close()
    assert json.loads((tmp_path / "r.json").read_text()) == [
        {
            "file_name": "b.jpg",
            "category_name": "dog",
            "image_id": 2,
            "category_id": 9,
            "bbox": [2.0, 1.0, 4.0, 6.0],
            "score": 0.75,
        }
    ]


def test_masks_are_run_lengths_of_the_photo(tmp_path):
    results = ResultFile(tmp_path / "r.json")
    results.add("a.mp4", found(2, masks=True), frame=8)
    results.close()
    written = json.loads((tmp_path / "r.json").read_text())
    assert [result["segmentation"]["size"] for result in written] == [[10, 12]] * 2
    assert [result["frame"] for result in written] == [8, 8]


def test_nothing_found_is_an_empty_list(tmp_path):
    ResultFile(tmp_path / "r.json").close()
    assert json.loads((tmp_path / "r.json").read_text()) == []
