import copy

import numpy as np
import pytest

from maskrcnn_benchmark.evaluation.coco_backends import run_coco_protocol
from maskrcnn_benchmark.evaluation.summary import (
    count_ground_truth,
    named_metrics,
    per_class_results,
    select_ground_truth,
    unavailable_reasons,
)
from tests.evaluation.fakes import (
    quickstart_annotations,
    square_annotation,
    two_image_content,
)


def test_counts_by_area_include_both_ends():
    sides = [10, 32, 33, 96, 97]
    annotations = [square_annotation(s, 11, 7, (0, 0, s, s)) for s in sides]
    annotations.append(square_annotation(200, 11, 3, (0, 0, 5, 5), iscrowd=1))
    counts = count_ground_truth(two_image_content(annotations))
    assert counts.by_area == {"small": 2, "medium": 3, "large": 2}
    assert (counts.total, counts.crowds) == (5, 1)
    assert counts.by_category == {7: 5}


def test_selection_keeps_the_evaluated_images_only():
    content = two_image_content()
    selected = select_ground_truth(content, [12], "bbox").content
    assert [image["id"] for image in selected["images"]] == [12]
    assert selected["annotations"] == []


def test_selection_fills_in_what_dirty_files_lack():
    annotation = square_annotation(1, 11, 7, (10, 10, 40, 20))
    del annotation["iscrowd"], annotation["area"]
    content = two_image_content([annotation])
    before = copy.deepcopy(content)
    (completed,) = select_ground_truth(content, [11], "bbox").content["annotations"]
    assert (completed["iscrowd"], completed["area"]) == (0, 800)
    assert content == before


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("missing", ["APs", "APm", "APl"])
def test_reasons_explain_exactly_the_numbers_that_the_protocol_leaves_out(missing, backend):
    """Every size bin in turn is emptied of the quickstart ground truth."""
    low, high = {"APs": (-1, 32**2), "APm": (32**2, 96**2), "APl": (96**2, 1e10)}[missing]
    content = quickstart_annotations("val")
    content["annotations"] = [
        one for one in content["annotations"] if one["iscrowd"] or not low <= one["area"] <= high
    ]
    truth = select_ground_truth(content, [i["id"] for i in content["images"]], "bbox").content
    counts = count_ground_truth(truth)
    metrics = named_metrics(run_coco_protocol(truth, [], "bbox", backend))
    reasons = unavailable_reasons(metrics, counts)
    assert set(reasons) == {missing, missing.replace("AP", "AR")}
    assert "no ground truth of" in reasons[missing]


def test_per_class_numbers_average_to_the_total():
    rng = np.random.default_rng(0)
    content = quickstart_annotations("val")
    results = [
        {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "bbox": annotation["bbox"],
            "score": float(rng.random()),
        }
        for annotation in content["annotations"]
        if rng.random() < 0.6
    ]
    numbers = run_coco_protocol(content, results, "bbox", "hotcoco")
    counts = count_ground_truth(content)
    per_class = per_class_results(numbers, content["categories"], counts)
    present = [entry["AP"] for entry in per_class.values() if entry["AP"] is not None]
    assert np.mean(present) == pytest.approx(named_metrics(numbers)["AP"])
    assert len(per_class) == 80
    for entry in per_class.values():
        assert (entry["AP"] is None) == (entry["num_gt"] == 0)
    assert sum(entry["num_gt"] for entry in per_class.values()) == 306


@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_nothing_but_what_is_needed_reaches_a_backend(iou_type):
    """Bug: dates, licences and ``keypoints: null`` of exporters ended runs in their evaluation."""
    content = two_image_content([square_annotation(1, 11, 7, (10, 10, 40, 20))])
    for section in ("images", "annotations", "categories"):
        for entry in content[section]:
            entry |= {"license": "", "date_captured": 0, "keypoints": None, "skeleton": "?"}
    content["info"] = 3
    truth = select_ground_truth(content, [11, 12], iou_type).content
    for section in ("images", "annotations", "categories"):
        for entry in truth[section]:
            assert not {"license", "date_captured", "skeleton"} & set(entry)
    for backend in ("hotcoco", "pycocotools"):
        run_coco_protocol(copy.deepcopy(truth), [], iou_type, backend)
