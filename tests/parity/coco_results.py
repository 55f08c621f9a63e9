"""Compares detections in COCO's format, at the size of the photo, with the reference's."""

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.data.datasets.evaluation.coco_format import box_results, mask_results
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste import resize_detections
from tests.golden_data import golden_json
from tests.parity.reference import match_detections

_MAX_SCALE = 1.6  # photo / resized image, for the tolerance of boxes in px


def assert_coco_results(
    case: str, image: int, detections: BoxList, score_tolerance: float = 1e-4, min_iou: float = 0.99
) -> None:
    """Boxes, categories and scores of all detections, and the masks that the reference stored."""
    info = golden_json(case)
    height, width = info["images"][image]["original_hw"]
    image_id = info["images"][image]["id"]
    json_ids = {int(label): coco_id for label, coco_id in info["contiguous_to_coco_id"].items()}
    original = resize_detections(detections, (width, height))
    formatters = {"coco_bbox": box_results, "coco_segm": mask_results}
    for part in [part for part in formatters if part in info]:
        ours = formatters[part](image_id, original, json_ids)
        references = [entry for entry in info[part] if entry["image_id"] == image_id]
        pairs = match_detections(case, image, detections)
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
