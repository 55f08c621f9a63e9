import copy
from collections import Counter

import numpy as np
import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.evaluation.coco_backends import run_coco_protocol
from tests.evaluation.fakes import quickstart_annotations, synthetic_results


def both(content, results, iou_type):
    return [
        run_coco_protocol(copy.deepcopy(content), results, iou_type, backend)
        for backend in ("hotcoco", "pycocotools")
    ]


def assert_same_bits(first, second):
    assert first.stats.shape == (12,)
    assert first.category_ids == second.category_ids
    np.testing.assert_array_equal(first.precision, second.precision)
    # Means of the same numbers; in which order NumPy adds them depends on release and processor.
    np.testing.assert_array_max_ulp(first.stats, second.stats, maxulp=4)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("split", ["train", "val"])
class TestBothBackendsComputeTheSameBits:
    """The quickstart splits have crowds, photos without objects, and absent categories."""

    def test_the_splits_have_what_these_tests_are_about(self, split, iou_type):
        content = quickstart_annotations(split)
        annotated = {annotation["image_id"] for annotation in content["annotations"]}
        used = {annotation["category_id"] for annotation in content["annotations"]}
        assert any(annotation["iscrowd"] for annotation in content["annotations"])
        assert any(image["id"] not in annotated for image in content["images"])
        assert any(category["id"] not in used for category in content["categories"])

    def test_synthetic_detections(self, split, iou_type):
        content = quickstart_annotations(split)
        fast, reference = both(content, synthetic_results(content, iou_type), iou_type)
        assert 0.1 < reference.stats[0] < 0.9
        assert_same_bits(fast, reference)

    def test_no_detections(self, split, iou_type):
        fast, reference = both(quickstart_annotations(split), [], iou_type)
        assert_same_bits(fast, reference)
        assert (reference.stats == 0).all()

    def test_detections_only_where_there_is_nothing(self, split, iou_type):
        content = quickstart_annotations(split)
        results = synthetic_results(content, iou_type)
        annotated = {annotation["image_id"] for annotation in content["annotations"]}
        empty = next(image["id"] for image in content["images"] if image["id"] not in annotated)
        moved = [{**result, "image_id": empty} for result in results]
        fast, reference = both(content, moved, iou_type)
        assert_same_bits(fast, reference)
        assert reference.stats[0] == 0

    def test_more_detections_than_the_limit_of_100(self, split, iou_type):
        content = quickstart_annotations(split)
        sizes = Counter((image["height"], image["width"]) for image in content["images"])
        (height, width), _ = sizes.most_common(1)[0]
        crowded = next(
            image["id"]
            for image in content["images"]
            if (image["height"], image["width"]) == (height, width)
        )
        moved = [
            {**result, "image_id": crowded, "category_id": 1}
            for result in synthetic_results(content, iou_type)
            if iou_type == "bbox" or result["segmentation"]["size"] == [height, width]
        ]
        repeated = moved * 3
        assert len(repeated) > 100
        assert_same_bits(*both(content, repeated, iou_type))


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_ground_truth_of_crowds_only_is_minus_one_in_both(iou_type):
    content = quickstart_annotations("val")
    content["annotations"] = [one for one in content["annotations"] if one["iscrowd"]]
    results = synthetic_results(content, iou_type)
    fast, reference = both(content, results, iou_type)
    assert_same_bits(fast, reference)
    assert (reference.stats == -1).all()


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_results_are_left_as_they_are(backend):
    content = quickstart_annotations("val")
    results = synthetic_results(content, "segm")
    before = copy.deepcopy(results)
    run_coco_protocol(content, results, "segm", backend)
    assert results == before


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_nothing_is_printed(backend, capfd):
    content = quickstart_annotations("val")
    run_coco_protocol(content, synthetic_results(content, "bbox"), "bbox", backend)
    assert capfd.readouterr() == ("", "")


def test_unknown_backend_is_named():
    with pytest.raises(ConfigError, match=r"TEST.COCO_BACKEND.*'hotcoco' or 'pycocotools'.*'fast'"):
        run_coco_protocol({}, [], "bbox", "fast")


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_ids_of_any_size_give_the_same_numbers(backend):
    """Backends take neither negative ids nor, for what was matched, the id 0."""
    content = quickstart_annotations("val")
    results = synthetic_results(content, "bbox")
    expected = run_coco_protocol(copy.deepcopy(content), results, "bbox", backend)
    lowest = min(image["id"] for image in content["images"])
    for entry in [*content["annotations"], *results]:
        entry["image_id"] -= lowest + 2**40
        entry["category_id"] -= 50
    for number, entry in enumerate(content["annotations"]):
        entry["id"] = -number
    for entry in content["images"]:
        entry["id"] -= lowest + 2**40
    for entry in content["categories"]:
        entry["id"] -= 50
    numbers = run_coco_protocol(content, results, "bbox", backend)
    np.testing.assert_array_equal(numbers.precision, expected.precision)
    assert [i + 50 for i in numbers.category_ids] == list(expected.category_ids)
