"""Compares detections in COCO's format, at the size of the photo, with the reference's."""

from collections.abc import Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.evaluation.coco_format import box_results, mask_results
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.golden_data import golden_json, golden_npz
from tests.parity.reference import match_detections

_MAX_SCALE = 1.6  # photo / resized image, for the tolerance of boxes in px


def _at_reference_boxes(
    case: str, image: int, detections: BoxList, pairs: Sequence[tuple[int, int]]
) -> BoxList:
    """The detections, with the reference's boxes where they are paired.

    Pasting truncates boxes to whole pixels: the last bit of a box can move a mask by a pixel.
    """
    ours, references = (list(inds) for inds in zip(*pairs, strict=True))
    moved = detections.copy_with_fields(detections.fields())
    moved.bbox = detections.bbox.clone()
    moved.bbox[ours] = torch.from_numpy(golden_npz(case)[f"det{image}_boxes"])[references]
    return moved


def assert_coco_results(
    case: str, image: int, detections: BoxList, score_tolerance: float = 1e-4, min_iou: float = 0.99
) -> None:
    """Boxes, categories and scores of all detections, and the masks that the reference stored.

    Masks are pasted at the reference's boxes, nearer than 0.05 px to ours.
    """
    info = golden_json(case)
    height, width = info["images"][image]["original_hw"]
    image_id = info["images"][image]["id"]
    json_ids = {int(label): coco_id for label, coco_id in info["contiguous_to_coco_id"].items()}
    pairs = match_detections(case, image, detections)
    parts = {
        "coco_bbox": (box_results, detections),
        "coco_segm": (mask_results, _at_reference_boxes(case, image, detections, pairs)),
    }
    for part in [part for part in parts if part in info]:
        format_results, placed = parts[part]
        ours = format_results(image_id, placed.resize((width, height)), json_ids)
        references = [entry for entry in info[part] if entry["image_id"] == image_id]
        compared = [(ours[i], references[j]) for i, j in pairs if j < len(references)]
        assert len(compared) >= len(references) - 1
        for our, reference in compared:
            assert our["category_id"] == reference["category_id"]
            assert abs(our["score"] - reference["score"]) <= score_tolerance
            if part == "coco_bbox":
                difference = np.subtract(our["bbox"], reference["bbox"])
                assert np.abs(difference).max() <= 2 * 0.05 * _MAX_SCALE
            else:
                masks = our["segmentation"], reference["segmentation"]
                assert masks[0]["size"] == masks[1]["size"]
                # Masks without a pixel have an IoU of 0.
                if masks[0]["counts"] != masks[1]["counts"]:
                    assert coco_mask.iou([masks[0]], [masks[1]], [0])[0, 0] >= min_iou
