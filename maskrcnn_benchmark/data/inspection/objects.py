"""Annotations of which something is wrong: boxes, outlines, crowds, classes.

Shapes: A annotations, N points of a polygon.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.data.datasets.annotation_table import trainable_boxes
from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.datasets.outlines import outline_area
from maskrcnn_benchmark.data.inspection.findings import (
    ERROR,
    MAKE_SINGLE,
    NOTE,
    REMOVE_OBJECTS,
    SCALE,
    WARNING,
    Finding,
    Place,
)

_TINY_SIDE: Final = 4.0
"""px."""
_LEAST_FIT: Final = 0.5
"""IoU of a box and the box around its outline."""
_MOST_POINTS: Final = 1000
"""Larger polygons are not looked through for crossings, which takes the square of that."""
_FEW_OBJECTS: Final = 10
_LARGEST_RATIO: Final = 50
_MOST_EVALUATED: Final = 100
"""Detections of a class in a photo that COCO's protocol counts."""

_Entry = Mapping[str, Any]


class Objects:
    """The annotations of a data set, with what is asked of them again and again.

    Args:
        dataset: whose ground truth is looked at.

    Attributes:
        entries: A annotations of COCO's structure.
        boxes_xywh: (A, 4) px.
        sizes_hw: (A, 2) px, of the photo of each.
        is_crowd: (A,) bool.
        is_trainable: (A,) bool; whether something of each box lies in its photo.
    """

    def __init__(self, dataset: DetectionDataset) -> None:
        content = dataset.ground_truth()
        self.entries: list[_Entry] = content["annotations"]
        self.names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        self.index_of = {int(i): index for index, i in enumerate(dataset.image_ids)}
        self.images = {int(entry["id"]): entry for entry in content["images"]}
        boxes = [entry["bbox"] for entry in self.entries]
        sizes = [self._size_hw(entry) for entry in self.entries]
        self.boxes_xywh: NDArray[np.float64] = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        self.sizes_hw: NDArray[np.int64] = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        crowds = [bool(entry.get("iscrowd")) for entry in self.entries]
        self.is_crowd: NDArray[np.bool_] = np.array(crowds, dtype=np.bool_)
        self.is_trainable = trainable_boxes(self.boxes_xywh, self.sizes_hw)

    def _size_hw(self, entry: _Entry) -> tuple[int, int]:
        image = self.images[int(entry["image_id"])]
        return int(image["height"]), int(image["width"])

    def place(self, row: int) -> Place:
        """Where an annotation is."""
        entry = self.entries[row]
        image_id = int(entry["image_id"])
        name = self.images[image_id].get("file_name", f"image {image_id}")
        text = f"annotation {entry['id']} of {name}"
        return Place(text, self.index_of[image_id], int(entry["id"]))

    def places(self, rows: NDArray[np.bool_] | Sequence[int]) -> tuple[Place, ...]:
        """Where some annotations are, given by a mask (A,) or by their rows."""
        chosen = np.flatnonzero(rows) if isinstance(rows, np.ndarray) else rows
        return tuple(self.place(int(row)) for row in chosen)


def find_in_objects(objects: Objects) -> list[Finding]:
    """What is wrong, or strange, with annotations."""
    return [
        *_find_in_boxes(objects),
        *_find_in_outlines(objects),
        *_find_in_crowds(objects),
        _find_repeated(objects),
        *_find_in_counts(objects),
    ]


def _find_in_boxes(objects: Objects) -> list[Finding]:
    boxes, sizes_wh = objects.boxes_xywh, objects.sizes_hw[:, ::-1]
    useless = ~objects.is_trainable & ~objects.is_crowd
    relative = useless & (boxes[:, :2] >= 0).all(axis=1) & (boxes.max(axis=1, initial=0) <= 1)
    end = boxes[:, :2] + boxes[:, 2:]
    # A pixel more is a matter of rounding.
    beyond = ((boxes[:, :2] < -1) | (end > sizes_wh + 1)).any(axis=1) & objects.is_trainable
    is_tiny = objects.is_trainable & ~objects.is_crowd & (boxes[:, 2:] < _TINY_SIDE).any(axis=1)
    return [
        Finding(
            ERROR,
            "boxes with coordinates from 0 to 1, which are not trained on",
            objects.places(relative),
            "boxes are px of the photo: multiply them by its width and height",
            SCALE,
        ),
        Finding(
            ERROR,
            "boxes that are empty or outside of their photo, which are not trained on",
            objects.places(useless & ~relative),
            cure=REMOVE_OBJECTS,
        ),
        Finding(WARNING, "boxes that reach out of their photo", objects.places(beyond)),
        Finding(
            WARNING, f"boxes less than {_TINY_SIDE:g} px wide or high", objects.places(is_tiny)
        ),
    ]


def _find_in_outlines(objects: Objects) -> list[Finding]:
    empty, crossing, misplaced, corners = [], [], [], []
    for row in np.flatnonzero(objects.is_trainable).tolist():
        outline = objects.entries[row].get("segmentation")
        if not outline:
            continue
        height, width = objects.sizes_hw[row].tolist()
        if outline_area(outline, height, width) == 0:
            empty.append(row)
            continue
        if isinstance(outline, list) and any(map(crosses_itself, outline)):
            crossing.append(row)
        around, box = _box_around(outline), objects.boxes_xywh[row].tolist()
        if _iou(around, box) < _LEAST_FIT:
            misplaced.append(row)
            turned = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            corners.append(_iou(around, turned) > _LEAST_FIT)
    hint = "do they hold two corners in place of x, y, width, height?"
    return [
        Finding(ERROR, "outlines that cover no pixel", objects.places(empty), cure=REMOVE_OBJECTS),
        Finding(WARNING, "outlines that cross themselves", objects.places(crossing)),
        Finding(
            WARNING,
            "boxes that do not fit their outlines",
            objects.places(misplaced),
            hint if corners and all(corners) else "",
        ),
    ]


def _find_in_crowds(objects: Objects) -> list[Finding]:
    is_crowd = objects.is_crowd
    advice = (
        "they are groups to COCO, neither trained on nor to be found; set iscrowd to 0 if they are "
        "single objects, as those that CVAT exports of brush strokes"
    )
    # Of sound data a few hundredths are crowds.
    are_most = bool(is_crowd.sum() * 2 > len(is_crowd))
    places = objects.places(is_crowd)
    if are_most:
        return [Finding(ERROR, "annotations that are crowds", places, advice, MAKE_SINGLE)]
    return [Finding(NOTE, "annotations that are crowds", places, advice)]


def _find_repeated(objects: Objects) -> Finding:
    seen: set[tuple[Any, ...]] = set()
    again = []
    for row, entry in enumerate(objects.entries):
        box = tuple(round(float(value), 1) for value in entry["bbox"])
        key = (entry["image_id"], entry["category_id"], box)
        if key in seen:
            again.append(row)
        seen.add(key)
    places = objects.places(again)
    return Finding(WARNING, "annotations that repeat another one", places, cure=REMOVE_OBJECTS)


def _find_in_counts(objects: Objects) -> list[Finding]:
    counts: Counter[int] = Counter(
        entry["category_id"]
        for entry, ok in zip(objects.entries, objects.is_trainable & ~objects.is_crowd, strict=True)
        if ok
    )
    few = tuple(
        Place(f"{name}: {counts[category]}")
        for category, name in objects.names.items()
        if 0 < counts[category] < _FEW_OBJECTS
    )
    unused = tuple(Place(name) for category, name in objects.names.items() if not counts[category])
    most, least = (max(counts.values()), min(counts.values())) if counts else (0, 0)
    ratio = most / least if least else 0
    uneven = (Place(f"the most frequent has {most}, the rarest {least} objects"),)
    twice = Counter(objects.names.values())
    same = tuple(Place(repr(name)) for name, count in twice.items() if count > 1)
    by_photo = Counter((entry["image_id"], entry["category_id"]) for entry in objects.entries)
    crowded = {image for (image, _), count in by_photo.items() if count > _MOST_EVALUATED}
    return [
        Finding(WARNING, "names that several classes have", same, "they stay classes of their own"),
        Finding(WARNING, f"classes of less than {_FEW_OBJECTS} objects", few),
        Finding(
            WARNING,
            "great difference between classes",
            uneven if ratio > _LARGEST_RATIO else (),
            "rare classes are learnt badly",
        ),
        Finding(NOTE, "classes without an object", unused),
        Finding(
            NOTE,
            f"photos with more than {_MOST_EVALUATED} objects of a class",
            tuple(
                Place(str(objects.images[i].get("file_name", i)), objects.index_of[i])
                for i in sorted(crowded)
            ),
            f"COCO's protocol counts {_MOST_EVALUATED} detections of a class in a photo, so AP "
            "cannot reach 100; TEST.DETECTIONS_PER_IMG and MODEL.FCOS.POST_NMS_TOP_N_TEST bound "
            "what is found",
        ),
    ]


def _box_around(outline: list[list[float]] | dict[str, Any]) -> list[float]:
    if isinstance(outline, dict):
        return [float(value) for value in coco_mask.toBbox(outline)]
    xs = [x for polygon in outline for x in polygon[::2]]
    ys = [y for polygon in outline for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Of two boxes xywh; a pixel of each side is forgiven."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0]) + 1
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1]) + 1
    shared = max(0.0, width) * max(0.0, height)
    areas = [(max(0.0, box[2]) + 1) * (max(0.0, box[3]) + 1) for box in (first, second)]
    return shared / (sum(areas) - shared)


def crosses_itself(polygon: Sequence[float]) -> bool:
    """Whether two sides of a polygon, x and y in turn, cross each other properly."""
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    if not 4 <= len(points) <= _MOST_POINTS:
        return False
    start, end = points[:, None], np.roll(points, -1, axis=0)[:, None]
    # (N, N): on which side of the line of each side the ends of every other lie.
    first = _side(start, end, points[None])
    second = np.roll(first, -1, axis=1)
    apart = first * second < 0
    return bool((apart & apart.T).any())


def _side(
    start: NDArray[np.float64], end: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, N): positive for points at the left of a line, negative at its right, 0 on it."""
    along, to_point = end - start, points - start
    return np.sign(along[..., 0] * to_point[..., 1] - along[..., 1] * to_point[..., 0])
