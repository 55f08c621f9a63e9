"""Compares detections in COCO's format, at the size of the photo, with the reference's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.evaluation.coco_format import box_results, mask_results
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.golden_data import golden_json, golden_npz
from tests.parity.reference import match_detections

_MAX_SCALE = 1.6  # photo / resized image, for the tolerance of boxes in px
# Pixels this near the threshold may be either: V-39 dconv has a mask of which 1,576 of 6,000 are,
# and the number of threads alone moves its probabilities by 3e-5.
_UNDECIDED = 1e-4


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


def _with_masks(detections: BoxList, change: float) -> BoxList:
    """The detections with so much added to the probabilities of their masks."""
    changed = detections.copy_with_fields(detections.fields())
    changed.add_field("mask", detections.get_field("mask") + change)
    return changed


def _mask_iou(ours: Any, without: Any, with_undecided: Any, reference: Any) -> float:
    """The IoU of our mask and the reference's, to which undecided pixels are left."""
    assert ours["size"] == reference["size"]
    # Masks without a pixel have an IoU of 0.
    if ours["counts"] == reference["counts"]:
        return 1.0
    chosen = coco_mask.merge([reference, with_undecided], intersect=True)
    return float(coco_mask.iou([coco_mask.merge([without, chosen])], [reference], [0])[0, 0])


def assert_coco_results(
    case: str, image: int, detections: BoxList, score_tolerance: float = 1e-4, min_iou: float = 0.99
) -> None:
    """Boxes, categories and scores of all detections, and the masks that the reference stored.

    Masks are pasted at the reference's boxes, nearer than 0.05 px to ours, and compared where
    their probabilities are not at the threshold.
    """
    info = golden_json(case)
    height, width = info["images"][image]["original_hw"]
    image_id = info["images"][image]["id"]
    json_ids = {int(label): coco_id for label, coco_id in info["contiguous_to_coco_id"].items()}
    pairs = match_detections(case, image, detections)

    def results(make: Any, placed: BoxList, part: str) -> list[tuple[Any, Any]]:
        """Our results and the reference's, in pairs."""
        ours = make(image_id, placed.resize((width, height)), json_ids)
        references = [entry for entry in info[part] if entry["image_id"] == image_id]
        compared = [(ours[i], references[j]) for i, j in pairs if j < len(references)]
        assert len(compared) >= len(references) - 1
        for our, reference in compared:
            assert our["category_id"] == reference["category_id"]
            assert abs(our["score"] - reference["score"]) <= score_tolerance
        return compared

    if "coco_bbox" in info:
        for our, reference in results(box_results, detections, "coco_bbox"):
            difference = np.subtract(our["bbox"], reference["bbox"])
            assert np.abs(difference).max() <= 2 * 0.05 * _MAX_SCALE
    if "coco_segm" in info:
        placed = _at_reference_boxes(case, image, detections, pairs)
        changed = [_with_masks(placed, change) for change in (0, -_UNDECIDED, _UNDECIDED)]
        each = [results(mask_results, masks, "coco_segm") for masks in changed]
        for (our, reference), (without, _), (with_undecided, _) in zip(*each, strict=True):
            entries = (our, without, with_undecided, reference)
            assert _mask_iou(*(entry["segmentation"] for entry in entries)) >= min_iou
