"""From the arrays of the COCO protocol to named numbers with reasons."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from maskrcnn_benchmark.evaluation.coco_backends import CocoNumbers
from maskrcnn_benchmark.evaluation.result import (
    KEYPOINTS,
    ClassResult,
    count,
    metric_names,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList

_PERCENT = 100.0
# Source: the COCO protocol; px^2 of the original image, both ends included.
AREA_RANGES = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
_AREA_TEXTS = {
    "small": "small area (up to 32² px)",
    "medium": "medium area (32² to 96² px)",
    "large": "large area (over 96² px)",
}
MOST_DETECTIONS = 100
"""Of a class in an image that the protocol counts."""
_NEEDED_ENTRY = {"segm": "segmentation", KEYPOINTS: "keypoints"}
_FIELDS = (
    ("category_ids", "category_id", torch.int64),
    ("areas", "area", torch.float64),
    ("is_crowd", "iscrowd", torch.bool),
)
_AREA_OF_METRIC = {"s": "small", "m": "medium", "l": "large"}


class GroundTruth(NamedTuple):
    """The part of a COCO JSON file that one evaluation looks at.

    Attributes:
        content: JSON content of the evaluated images only, complete for either backend, and no more
            than an evaluation looks at.
        num_dropped: annotations left out because they have no mask (``segm``) or no keypoints
            (``keypoints``).
    """

    content: dict[str, Any]
    num_dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruthCounts:
    """How many ground truths there are to find; crowds count apart, as nothing has to find them.

    Attributes:
        total: objects that are no crowds.
        crowds: crowd regions.
        by_area: objects in each area range (an area on a border counts in both).
        by_category: objects of each COCO category id.
        most_in_image: objects of one category in the image that has most of them.
    """

    total: int
    crowds: int
    by_area: Mapping[str, int]
    by_category: Mapping[int, int]
    most_in_image: int = 0


def select_ground_truth(
    content: Mapping[str, Any], image_ids: Iterable[int], iou_type: str
) -> GroundTruth:
    """The ground truth of some images, with the fields filled in that both backends demand.

    Args:
        content: a COCO JSON file; left as it is.
        image_ids: the evaluated images.
        iou_type: ``"bbox"``, ``"segm"`` or ``"keypoints"``; annotations without a mask or
            keypoints are left out for the latter two.
    """
    wanted = set(image_ids)
    annotations = [
        _needed(annotation, iou_type)
        for annotation in content.get("annotations", ())
        if annotation["image_id"] in wanted
    ]
    usable = annotations
    needed = _NEEDED_ENTRY.get(iou_type)
    if needed is not None:
        usable = [annotation for annotation in annotations if annotation.get(needed)]
    selected = {
        "images": [
            {"id": image["id"], "width": int(image["width"]), "height": int(image["height"])}
            for image in content["images"]
            if image["id"] in wanted
        ],
        "categories": [
            {"id": category["id"], "name": str(category["name"])}
            for category in content["categories"]
        ],
        "annotations": usable,
    }
    return GroundTruth(selected, len(annotations) - len(usable))


def _needed(annotation: Mapping[str, Any], iou_type: str) -> dict[str, Any]:
    """What an evaluation looks at; what else is in a file, of whatever type, does not reach it."""
    _, _, width, height = annotation["bbox"]
    area = annotation.get("area")
    entry = {key: annotation[key] for key in ("id", "image_id", "category_id", "bbox")}
    entry["iscrowd"] = int(annotation.get("iscrowd") or 0)
    entry["area"] = width * height if area is None else area
    if iou_type == "segm":
        entry["segmentation"] = annotation.get("segmentation")
    if iou_type == KEYPOINTS:
        keypoints = annotation.get("keypoints") or []
        entry["keypoints"] = keypoints
        entry["num_keypoints"] = sum(visibility > 0 for visibility in keypoints[2::3])
    return entry


def count_ground_truth(content: Mapping[str, Any], iou_type: str = "bbox") -> GroundTruthCounts:
    """The counts of selected ground truth; for "keypoints" only objects with annotated points."""
    known = {category["id"] for category in content["categories"]}
    annotations = [one for one in content["annotations"] if one["category_id"] in known]
    if iou_type == KEYPOINTS:
        annotations = [one for one in annotations if one["num_keypoints"] or one["iscrowd"]]
    objects = [annotation for annotation in annotations if not annotation["iscrowd"]]
    by_area = {
        name: sum(low <= annotation["area"] <= high for annotation in objects)
        for name, (low, high) in AREA_RANGES.items()
    }
    return GroundTruthCounts(
        total=len(objects),
        crowds=len(annotations) - len(objects),
        by_area=by_area,
        by_category=Counter(annotation["category_id"] for annotation in objects),
        most_in_image=max(
            Counter((one["image_id"], one["category_id"]) for one in objects).values(), default=0
        ),
    )


def objects_by_image(content: Mapping[str, Any]) -> Iterator[tuple[int, BoxList]]:
    """The id of each image and its objects, boxes in px.

    They have the fields "category_ids" (int64), "areas" (float64, px^2) and "is_crowd" (bool).
    """
    by_image: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        entries = by_image[image["id"]]
        boxes_xywh = torch.tensor([one["bbox"] for one in entries], dtype=torch.float32)
        size_wh = (int(image["width"]), int(image["height"]))
        objects = BoxList(boxes_xywh.reshape(-1, 4), size_wh, mode="xywh").convert("xyxy")
        for field, key, dtype in _FIELDS:
            objects.add_field(field, torch.tensor([one[key] for one in entries], dtype=dtype))
        yield image["id"], objects


def named_metrics(numbers: CocoNumbers, iou_type: str = "bbox") -> dict[str, float | None]:
    """The numbers of an IoU type by name, in percent; ``None`` where the protocol says -1."""
    # UPSTREAM(not-available): there they were fractions of 1, and -1 where they did not exist.
    return {
        name: None if value < 0 else float(value) * _PERCENT
        for name, value in zip(metric_names(iou_type), numbers.stats, strict=True)
    }


def unavailable_reasons(
    metrics: Mapping[str, float | None], counts: GroundTruthCounts
) -> dict[str, str]:
    """Why each number that is ``None`` does not exist."""
    return {name: _reason(name, counts) for name, value in metrics.items() if value is None}


def _reason(metric: str, counts: GroundTruthCounts) -> str:
    if counts.total == 0 and counts.crowds:
        return f"no ground truth besides {count(counts.crowds, 'crowd region')}"
    area = area_of_metric(metric)
    if counts.total == 0 or area is None:
        return "no ground truth in these images"
    return f"no ground truth of {_AREA_TEXTS[area]}"


def area_of_metric(metric: str) -> str | None:
    """The area range that a number is about, "small" for ``APs`` or ``ARs@100``; None: all."""
    return _AREA_OF_METRIC.get(metric.partition("@")[0][-1])


def per_class_results(
    numbers: CocoNumbers, categories: Sequence[Mapping[str, Any]], counts: GroundTruthCounts
) -> dict[str, ClassResult]:
    """AP, AP50 (percent) and number of ground truths of each category, by name."""
    names = {int(category["id"]): str(category["name"]) for category in categories}
    results: dict[str, ClassResult] = {}
    for position, category_id in enumerate(numbers.category_ids):
        # (T, R): every area, the largest limit on detections
        precision = numbers.precision[:, :, position, 0, -1]
        results[names[category_id]] = ClassResult(
            AP=_mean_percent(precision),
            AP50=_mean_percent(precision[:1]),
            num_gt=counts.by_category.get(category_id, 0),
        )
    return results


def _mean_percent(precision: npt.NDArray[np.float64]) -> float | None:
    existing = precision[precision > -1]
    return float(existing.mean()) * _PERCENT if existing.size else None
