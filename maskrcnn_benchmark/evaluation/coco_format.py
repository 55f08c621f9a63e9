"""Detections in the format of COCO result files.

Shapes: K detections of one image.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from maskrcnn_benchmark.structures.bounding_box import BoxList


class BoxResult(TypedDict):
    """One detection of a ``bbox`` result file; ``bbox`` is x, y, w, h in px, inclusive sizes."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float


class MaskResult(TypedDict):
    """One detection of a ``segm`` result file; ``segmentation`` is a compressed RLE."""

    image_id: int
    category_id: int
    segmentation: dict[str, Any]
    score: float


def box_results(
    image_id: int, detections: BoxList, json_category_ids: Mapping[int, int]
) -> list[BoxResult]:
    """The detections as COCO ``bbox`` results, in their order, scored by ``scores``.

    Width and height count both end pixels (x2 - x1 + 1), as the original wrote them.

    Args:
        image_id: COCO id of the image.
        detections: (K,) with ``labels`` and ``scores``, px of the original image.
        json_category_ids: label to COCO category id.
    """
    boxes_xywh = detections.convert("xywh").bbox.detach().cpu().tolist()
    scores = detections.get_field("scores").detach().cpu().tolist()
    categories = _category_ids(detections, json_category_ids)
    return [
        BoxResult(image_id=image_id, category_id=category, bbox=box, score=score)
        for category, box, score in zip(categories, boxes_xywh, scores, strict=True)
    ]


def mask_results(
    image_id: int, detections: BoxList, json_category_ids: Mapping[int, int]
) -> list[MaskResult]:
    """The detections as COCO ``segm`` results, in their order.

    They are scored by ``mask_scores`` where the model has a mask-IoU head, else by ``scores``.

    Args:
        image_id: COCO id of the image.
        detections: (K,) with ``labels``, ``scores`` and ``mask``, px of the original image.
        json_category_ids: label to COCO category id.

    Raises:
        ValueError: ``mask`` is missing.
    """
    if not detections.has_field("mask"):
        raise ValueError(
            "segm evaluation needs detections with the field 'mask', "
            f"got the fields {sorted(detections.fields())}"
        )
    field = "mask_scores" if detections.has_field("mask_scores") else "scores"
    scores = detections.get_field(field).detach().cpu().tolist()
    categories = _category_ids(detections, json_category_ids)
    rles = detections.predicted_masks.encode()
    return [
        MaskResult(image_id=image_id, category_id=category, segmentation=rle, score=score)
        for category, rle, score in zip(categories, rles, scores, strict=True)
    ]


class KeypointResult(TypedDict):
    """One detection of a ``keypoints`` result file; ``keypoints`` is x, y (px), 1 for each."""

    image_id: int
    category_id: int
    keypoints: list[float]
    score: float


def keypoint_results(
    image_id: int, detections: BoxList, json_category_ids: Mapping[int, int]
) -> list[KeypointResult]:
    """The detections as COCO ``keypoints`` results, in their order, scored by ``scores``.

    Args:
        image_id: COCO id of the image.
        detections: (K,) with ``labels``, ``scores`` and ``keypoints``, px of the original image.
        json_category_ids: label to COCO category id.

    Raises:
        ValueError: ``keypoints`` is missing.
    """
    if not detections.has_field("keypoints"):
        raise ValueError(
            "keypoints evaluation needs detections with the field 'keypoints', "
            f"got the fields {sorted(detections.fields())}"
        )
    points = detections.get_field("keypoints").keypoints.detach().cpu().flatten(1).tolist()
    scores = detections.get_field("scores").detach().cpu().tolist()
    categories = _category_ids(detections, json_category_ids)
    return [
        KeypointResult(image_id=image_id, category_id=category, keypoints=values, score=score)
        for category, values, score in zip(categories, points, scores, strict=True)
    ]


def _category_ids(detections: BoxList, json_category_ids: Mapping[int, int]) -> list[int]:
    labels = [int(label) for label in detections.get_field("labels").detach().cpu().tolist()]
    unknown = sorted(set(labels) - set(json_category_ids))
    if unknown:
        raise ValueError(
            f"detections have the labels {unknown}, the data set knows "
            f"{min(json_category_ids, default=0)}..{max(json_category_ids, default=0)}: the "
            "model was built for another number of classes"
        )
    return [json_category_ids[label] for label in labels]
