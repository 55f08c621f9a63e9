"""Detections in the format of COCO result files, in their order.

A result has "image_id", "category_id", "score" and what was found: "bbox" (x, y, w, h in px),
"segmentation" (a compressed RLE) or "keypoints" (x and y in px, 1 for each).

All functions take the COCO id of the image, K detections in px of the original image with
``labels`` and ``scores``, and the COCO category id of each label. They raise ``ValueError`` where a
field is missing or a label is unknown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import Keypoints

Result: TypeAlias = dict[str, Any]


def box_results(
    image_id: int, detections: BoxList, json_category_ids: Mapping[int, int]
) -> list[Result]:
    """The ``bbox`` results, scored by ``scores``.

    Width and height are x2 - x1 + the ``pixel_offset`` of the boxes.
    """
    boxes_xywh = detections.convert("xywh").bbox.detach().cpu().tolist()
    return _results(image_id, detections, json_category_ids, "bbox", boxes_xywh)


def mask_results(
    image_id: int, detections: BoxList, json_category_ids: Mapping[int, int]
) -> list[Result]:
    """The ``segm`` results of ``mask``, scored by ``mask_scores``, or without them ``scores``."""
    _check_field(detections, "mask", "segm")
    rles = detections.predicted_masks.encode()
    scores = "mask_scores" if detections.has_field("mask_scores") else "scores"
    return _results(image_id, detections, json_category_ids, "segmentation", rles, scores)


def keypoint_results(
    image_id: int, detections: BoxList, json_category_ids: Mapping[int, int]
) -> list[Result]:
    """The ``keypoints`` results of the field of that name, scored by ``scores``.

    Coordinates count pixels, as those of COCO do.
    """
    _check_field(detections, "keypoints", "keypoints")
    keypoints: Keypoints = detections.get_field("keypoints").with_pixel_offset(LEGACY_PIXEL_OFFSET)
    points = keypoints.keypoints.detach().cpu().flatten(1).tolist()
    return _results(image_id, detections, json_category_ids, "keypoints", points)


def _check_field(detections: BoxList, field: str, iou_type: str) -> None:
    if not detections.has_field(field):
        raise ValueError(
            f"{iou_type} evaluation needs detections with the field {field!r}, "
            f"got the fields {sorted(detections.fields())}"
        )


def _results(
    image_id: int,
    detections: BoxList,
    json_category_ids: Mapping[int, int],
    entry: str,
    values: Sequence[Any],
    score_field: str = "scores",
) -> list[Result]:
    """One result for each detection, with its value as that entry."""
    labels = detections.get_field("labels").tolist()
    unknown = sorted(set(labels) - set(json_category_ids))
    if unknown:
        raise ValueError(
            f"detections have the labels {unknown}, the data set knows "
            f"{min(json_category_ids, default=0)}..{max(json_category_ids, default=0)}: the "
            "model was built for another number of classes"
        )
    scores = detections.get_field(score_field).tolist()
    return [
        {
            "image_id": image_id,
            "category_id": json_category_ids[label],
            entry: value,
            "score": score,
        }
        for label, value, score in zip(labels, values, scores, strict=True)
    ]
