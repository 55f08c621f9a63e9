"""From which score on what a model finds is worth showing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

_IOU: Final = 0.5
"""From this overlap on a box is the object's."""

_Boxes: TypeAlias = npt.NDArray[np.float64]
# The id of an image and that of a category.
_Place: TypeAlias = tuple[int, int]


class _Match(NamedTuple):
    """A detection: its score, and whether it is of an object that none with a higher score is."""

    score: float
    is_true: bool


def best_f1_threshold(
    annotations: Iterable[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> float | None:
    """The score at which F1 over all objects is best: half-way to the next lower score.

    F1 = 2 TP / (2 TP + FP + FN), where detections are matched as in the COCO protocol: by class, in
    the order of their scores, each with the free object that it overlaps most, by an IoU of boxes
    of 0.5 at least. Crowds are no objects, and what lies in them (or on them) does not count.

    Args:
        annotations: of a COCO JSON file, with "bbox" (x, y, w, h in px).
        results: boxes in COCO's format, with "score" in [0, 1].

    Returns:
        A number in [0, 1]; None if there are no objects, or none was found.
    """
    objects, crowds = _by_place(annotations)
    num_objects = sum(map(len, objects.values()))
    detections: dict[_Place, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        detections[_place(result)].append(result)
    empty = np.zeros((0, 4))
    matches = [
        match
        for place, found in detections.items()
        for match in _matched(found, objects.get(place, empty), crowds.get(place, empty))
    ]
    # Sorting is stable, so that the outcome does not depend on the machine.
    matches.sort(key=lambda match: -match.score)
    scores = np.array([match.score for match in matches])
    num_true = np.cumsum([match.is_true for match in matches])
    if num_objects == 0 or not len(matches) or num_true[-1] == 0:
        return None
    f1 = 2 * num_true / (np.arange(1, len(matches) + 1) + num_objects)
    # Equal scores are all shown or none is.
    is_cut = np.append(scores[1:] < scores[:-1], True)
    # The last of equals, as objects elsewhere score a little less.
    best = np.flatnonzero(is_cut & (f1 == f1[is_cut].max()))[-1]
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float(np.clip((scores[best] + below) / 2, 0.0, 1.0))


def _place(entry: Mapping[str, Any]) -> _Place:
    return int(entry["image_id"]), int(entry["category_id"])


def _by_place(
    annotations: Iterable[Mapping[str, Any]],
) -> tuple[dict[_Place, _Boxes], dict[_Place, _Boxes]]:
    """The boxes (xywh) of objects, and those of crowds, by image and category."""
    boxes: tuple[dict[_Place, list[Any]], ...] = (defaultdict(list), defaultdict(list))
    for one in annotations:
        boxes[bool(one.get("iscrowd"))][_place(one)].append(one["bbox"])
    objects, crowds = (
        {place: np.array(some, dtype=np.float64) for place, some in kind.items()} for kind in boxes
    )
    return objects, crowds


def _matched(
    found: Sequence[Mapping[str, Any]], objects: _Boxes, crowds: _Boxes
) -> Iterable[_Match]:
    """What each detection of a class on an image is worth; none for those on crowds."""
    found = sorted(found, key=lambda result: -result["score"])
    boxes = np.array([result["bbox"] for result in found], dtype=np.float64)
    inside = _intersections(boxes, crowds) / _areas(boxes)[:, None]
    is_on_crowd = inside.max(axis=1, initial=0.0) >= _IOU
    common = _intersections(boxes, objects)
    ious = common / (_areas(boxes)[:, None] + _areas(objects) - common)
    for row, result in enumerate(found):
        best = int(ious[row].argmax()) if len(objects) else 0
        is_true = bool(len(objects)) and bool(ious[row, best] >= _IOU)
        if is_true:
            ious[:, best] = -1.0
        if is_true or not is_on_crowd[row]:
            yield _Match(float(result["score"]), is_true)


def _areas(boxes: _Boxes) -> npt.NDArray[np.float64]:
    """Areas, px^2; those of nothing are next to nothing, as they are divided by."""
    return np.maximum(boxes[:, 2] * boxes[:, 3], np.finfo(np.float64).tiny)


def _intersections(boxes: _Boxes, others: _Boxes) -> npt.NDArray[np.float64]:
    """(K, M) common areas of K and M boxes, px^2."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    ends = boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:]
    high = np.minimum(ends[0][:, None], ends[1][None])
    sides = np.maximum(high - low, 0.0)
    product: npt.NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return product
