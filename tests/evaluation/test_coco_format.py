import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.evaluation.coco_format import (
    box_results,
    mask_results,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.evaluation.fakes import detections
from tests.golden_data import golden_json, golden_npz

IDS = {1: 3, 2: 7}


def test_width_and_height_count_both_end_pixels():
    (result,) = box_results(11, detections([[10, 20, 49, 29]], [2], [0.5]), IDS)
    assert result == {"image_id": 11, "category_id": 7, "bbox": [10, 20, 40, 10], "score": 0.5}


@pytest.mark.parametrize("field", ["scores", "mask_scores"])
def test_masks_are_scored_by_mask_scores_where_there_are_any(field):
    found = detections([[10, 20, 49, 29]], [1], [0.5])
    if field == "mask_scores":
        found.add_field("mask_scores", torch.tensor([0.25]))
    (box,) = box_results(11, found, IDS)
    (mask,) = mask_results(11, found, IDS)
    assert box["score"] == 0.5
    assert mask["score"] == (0.25 if field == "mask_scores" else 0.5)


def test_masks_are_run_lengths_of_the_whole_image_as_text():
    (result,) = mask_results(11, detections([[10, 20, 49, 29]], [1], [0.5]), IDS)
    assert result["segmentation"]["size"] == [80, 100]
    assert isinstance(result["segmentation"]["counts"], str)
    decoded = coco_mask.decode(result["segmentation"])
    assert decoded[21:29, 11:49].all()  # corners fade out
    assert 400 <= decoded.sum() <= 42 * 12  # at most a pixel larger on each side


def test_masks_of_the_whole_image_are_taken_as_they_are():
    found = detections([[10, 20, 49, 29], [0, 0, 5, 5]], [1, 2], [0.5, 0.4])
    planes = torch.zeros(2, 1, 80, 100, dtype=torch.uint8)
    planes[0, 0, 3:5, 7:20] = 1
    found.add_field("mask", planes)
    for result, plane in zip(mask_results(11, found, IDS), planes, strict=True):
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), plane[0].numpy())


def test_no_detections_give_no_results():
    nothing = detections([], [], [])
    assert box_results(11, nothing, IDS) == []
    assert mask_results(11, nothing, IDS) == []


def test_labels_of_another_number_of_classes_are_named():
    with pytest.raises(ValueError, match=r"\[5\].*1\.\.2"):
        box_results(11, detections([[0, 0, 5, 5]], [5], [0.5]), IDS)


def test_missing_masks_are_named():
    boxes = BoxList(torch.zeros(1, 4), (100, 80))
    with pytest.raises(ValueError, match=r"segm.*'mask'"):
        mask_results(11, boxes, IDS)


GOLDEN_CASES = [
    "centermask_R_50_FPN_1x",
    "centermask_R_50_FPN_lite_res600_ms_bs16_4x",
    "centermask_M_v2_FPN_lite_res600_ms_bs16_4x",
    "fcos_R_50_FPN_1x",
]


def golden_detections(case, position):
    """What the original detected in one photo, px of the resized photo; masks of the first few."""
    arrays = golden_npz(case)
    size = tuple(golden_json(case)["detections"][position]["size_wh"])
    boxes = torch.tensor(arrays[f"det{position}_boxes"], dtype=torch.float32)
    found = BoxList(boxes, size, mode="xyxy")
    for field in ("labels", "scores", "mask_scores"):
        key = f"det{position}_{field}"
        if key in arrays:
            found.add_field(field, torch.tensor(arrays[key]))
    return found


def to_original(case, position, found):
    height, width = golden_json(case)["images"][position]["original_hw"]
    return found.resize((width, height))


def category_ids(case):
    mapping = golden_json(case)["contiguous_to_coco_id"]
    return {int(label): category for label, category in mapping.items()}


@pytest.mark.golden
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_box_results_are_those_of_the_original(case):
    """Boxes within 1e-3 px, scores equal, categories equal, order equal."""
    ours = []
    for position, image in enumerate(golden_json(case)["images"]):
        found = to_original(case, position, golden_detections(case, position))
        ours += box_results(image["id"], found, category_ids(case))
    theirs = golden_json(case)["coco_bbox"]
    assert len(ours) == len(theirs)
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine["image_id"] == reference["image_id"]
        assert mine["category_id"] == reference["category_id"]
        assert mine["score"] == pytest.approx(reference["score"], abs=1e-6)
        assert mine["bbox"] == pytest.approx(reference["bbox"], abs=1e-3)


@pytest.mark.golden
@pytest.mark.parametrize("case", GOLDEN_CASES[:3])
def test_mask_results_are_those_of_the_original(case):
    """RLE IoU at least 0.99 and scores equal, for the masks that the fixture holds."""
    theirs = golden_json(case)["coco_segm"]
    num_compared = 0
    for position, image in enumerate(golden_json(case)["images"]):
        masks = torch.tensor(golden_npz(case)[f"det{position}_masks"]).float()
        found = golden_detections(case, position)[: len(masks)]
        found.add_field("mask", masks)
        ours = mask_results(image["id"], to_original(case, position, found), category_ids(case))
        references = [one for one in theirs if one["image_id"] == image["id"]]
        for mine, reference in zip(ours, references, strict=False):
            assert mine["category_id"] == reference["category_id"]
            assert mine["score"] == pytest.approx(reference["score"], abs=1e-6)
            pair = [mine["segmentation"]], [reference["segmentation"]]
            if coco_mask.area(pair[1])[0]:
                assert coco_mask.iou(*pair, [0])[0, 0] >= 0.99
            num_compared += 1
    assert num_compared == len(theirs)
