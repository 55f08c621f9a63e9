"""Annotations put into arrays, chunk by chunk, while the damaged ones are told apart."""

from __future__ import annotations

import json
import logging
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from maskrcnn_benchmark.data.datasets.annotation_table import (
    AnnotationTable,
    ImageTable,
    starts,
    trainable_boxes,
)
from maskrcnn_benchmark.data.datasets.keypoints import (
    NUM_VALUES,
    are_of_a_person,
    checked_keypoints,
)
from maskrcnn_benchmark.data.datasets.outlines import (
    MAX_COORDINATE,
    are_polygons,
    checked_outline,
    outline_area,
)

logger = logging.getLogger(__name__)

_NUM_EXAMPLES: Final = 3
_LARGEST_AREA: Final = float(np.finfo(np.float64).max)
_UNKNOWN_IMAGE: Final = 1
_BAD_BOX: Final = 2
_NO_OUTLINE: Final = 3
_BAD_OUTLINE: Final = 4
_BAD_KEYPOINTS: Final = 5
_BAD_CROWD: Final = 6
_REASONS: Final = (
    "",
    "with an image id that is not in 'images'",
    "with a box that is not finite",
    "without an outline, while others have one",
    "with a damaged outline",
    "with damaged keypoints",
    "with an 'iscrowd' that is neither 0 nor 1",
)
"""Why an annotation is left out, the first that holds."""
_NO: Final = frozenset(("0", "0.0", "false", "no", "none", "null", ""))
_YES: Final = frozenset(("1", "1.0", "true", "yes"))

Id: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class AnnotationRow(msgspec.Struct, gc=False):
    """An annotation as it is in the file; what may be missing is looked at later."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    segmentation: msgspec.Raw = msgspec.Raw()
    area: Any = None
    iscrowd: Any = None
    keypoints: Any = None


class Skipped:
    """Annotations left out: how many, which and why."""

    def __init__(self) -> None:
        self._ids: defaultdict[str, list[int]] = defaultdict(list)
        self._details: dict[str, str] = {}

    def add(self, reason: str, annotation_id: int, detail: str = "") -> None:
        """Count an annotation, left out for a reason in the form "with an empty box".

        ``detail`` says more of this annotation; that of the first of a reason is told.
        """
        self._ids[reason].append(annotation_id)
        if detail:
            self._details.setdefault(reason, detail)

    @property
    def ids(self) -> dict[str, list[int]]:
        """Reason -> ids of the annotations."""
        return dict(self._ids)

    def detail(self, reason: str) -> str:
        """What is wrong with the first annotation of a reason; "" if the reason says it all."""
        return self._details.get(reason, "")

    def __len__(self) -> int:
        return sum(len(ids) for ids in self._ids.values())

    def __str__(self) -> str:
        return "; ".join(
            f"{len(ids)} {why} (ids {examples(ids)})" for why, ids in self._ids.items()
        )

    def explained(self) -> str:
        """The same, with what is wrong with the first of a reason, where that is known."""
        told = (f"; the first {why}: {what}" for why, what in self._details.items())
        return str(self) + "".join(told)


def examples(values: Iterable[object]) -> str:
    """The first few values as text, with dots if there are more."""
    listed = list(values)
    more = ", ..." if len(listed) > _NUM_EXAMPLES else ""
    return ", ".join(str(value) for value in listed[:_NUM_EXAMPLES]) + more


class AnnotationCollector:
    """Takes annotations in chunks and gives their table.

    Args:
        images: what annotations may be of.
        fields: as in ``checked_content``.

    Attributes:
        has_outlines: whether any annotation so far has an outline, be it damaged; where none are
            asked for, whether all of them have a sound one.
        has_keypoints: whether keypoints are asked for, and any annotation so far has as many as a
            person.
    """

    def __init__(self, images: ImageTable, fields: Collection[str] | None = None) -> None:
        self._images = images
        self._wants_outlines = fields is None or "masks" in fields
        self._wants_keypoints = fields is None or "keypoints" in fields
        self._some_outline = self.has_keypoints = False
        self._details: dict[int, str] = {}
        self._damage, self._is_crowd = array("b"), array("b")
        self._ids, self._places, self._categories = array("q"), array("q"), array("q")
        self._boxes, self._areas = array("d"), array("d")
        self._outlines, self._lengths = bytearray(), array("q")
        self._keypoints, self._keypoint_rows = array("d"), array("q")
        self._bad_keypoint_rows: list[int] = []

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def has_outlines(self) -> bool:
        """See the class."""
        lacking = _NO_OUTLINE in self._damage or _BAD_OUTLINE in self._damage
        return self._some_outline and (self._wants_outlines or not lacking)

    @property
    def ids(self) -> NDArray[np.int64]:
        """(A,) the ids of the annotations."""
        return np.frombuffer(self._ids, dtype=np.int64)

    @property
    def category_ids(self) -> NDArray[np.int64]:
        """(A,) the category ids of the annotations."""
        return np.frombuffer(self._categories, dtype=np.int64)

    def add(self, rows: Sequence[AnnotationRow]) -> None:
        """Take some more annotations."""
        places = self._images.places([row.image_id for row in rows])
        boxes = np.array([row.bbox for row in rows], dtype=np.float64)
        damage = np.where((np.abs(boxes) <= MAX_COORDINATE).all(axis=1), 0, _BAD_BOX)
        damage[places < 0] = _UNKNOWN_IMAGE
        self._add_keypoints(rows)
        outlines = self._add_outlines(rows, places, damage)
        areas = _areas(rows)
        for i in np.flatnonzero(np.isnan(areas)).tolist():
            areas[i] = boxes[i, 2] * boxes[i, 3]
            if outlines[i]:
                size_hw = self._images.sizes_hw[places[i]].tolist()
                areas[i] = outline_area(msgspec.json.decode(outlines[i]), *size_hw)
        self._outlines += b"".join(outlines)
        self._lengths.extend(map(len, outlines))
        self._ids.fromlist([row.id for row in rows])
        self._categories.fromlist([row.category_id for row in rows])
        crowd = [_is_crowd(row.iscrowd) for row in rows]
        damage[[i for i, known in enumerate(crowd) if known is None and not damage[i]]] = _BAD_CROWD
        self._is_crowd.fromlist([1 if known else 0 for known in crowd])
        self._places.frombytes(places.tobytes())
        self._boxes.frombytes(boxes.tobytes())
        self._areas.frombytes(areas.tobytes())
        self._damage.frombytes(damage.astype(np.int8).tobytes())

    def table(self, sorted_category_ids: Sequence[int]) -> tuple[AnnotationTable, Skipped]:
        """The table of all annotations, and what it leaves out.

        Args:
            sorted_category_ids: all category ids, ascending; the first has the label 1.
        """
        damage = np.frombuffer(self._damage, dtype=np.int8).copy()
        if not self.has_outlines:
            damage[(damage == _NO_OUTLINE) | (damage == _BAD_OUTLINE)] = 0
        keypoints = np.zeros((len(self), NUM_VALUES if self.has_keypoints else 0))
        if self.has_keypoints:
            keypoints[self._keypoint_rows] = np.reshape(self._keypoints, (-1, NUM_VALUES))
            bad = np.array(self._bad_keypoint_rows, dtype=np.int64)
            damage[bad[damage[bad] == 0]] = _BAD_KEYPOINTS
        skipped = Skipped()
        for row in np.flatnonzero(damage).tolist():
            skipped.add(_REASONS[damage[row]], self._ids[row], self._details.get(row, ""))
        places = np.where(damage == 0, np.frombuffer(self._places, dtype=np.int64), -1)
        by_image = places.argsort(kind="stable")[np.count_nonzero(damage) :]
        boxes = np.frombuffer(self._boxes).reshape(-1, 4)
        is_crowd = np.frombuffer(self._is_crowd, dtype=np.bool_)
        is_sound = trainable_boxes(boxes, self._images.sizes_hw[places])
        table = AnnotationTable(
            image_places=places,
            first_row=np.searchsorted(places[by_image], np.arange(len(self._images.ids) + 1)),
            rows_by_image=by_image,
            ids=self.ids,
            boxes_xywh=boxes,
            labels=np.searchsorted(sorted_category_ids, self.category_ids) + 1,
            areas=np.frombuffer(self._areas),
            is_crowd=is_crowd,
            is_target=is_sound & ~is_crowd & (damage == 0),
            outlines=self._outlines,
            first_letter=starts(self._lengths),
            keypoints=keypoints,
        )
        return table, skipped

    def _add_keypoints(self, rows: Sequence[AnnotationRow]) -> None:
        for number, row in enumerate(rows, start=len(self)):
            if not (row.keypoints and self._wants_keypoints):
                continue
            self.has_keypoints |= are_of_a_person(row.keypoints)
            try:
                self._keypoints.fromlist(checked_keypoints(row.keypoints))
                self._keypoint_rows.append(number)
            except ValueError as error:
                logger.debug("annotation %d: %s", row.id, error)
                self._bad_keypoint_rows.append(number)

    def _add_outlines(
        self, rows: Sequence[AnnotationRow], places: NDArray[np.int64], damage: NDArray[np.int64]
    ) -> list[bytes]:
        """The usable outline of each annotation as JSON, or nothing; marks those without any."""
        texts = [
            bytes(row.segmentation) if isinstance(row.segmentation, msgspec.Raw) else b""
            for row in rows
        ]
        lists = [text for text in texts if text.startswith(b"[")]
        are_sound = are_polygons(b";".join(lists))
        for i, text in enumerate(texts):
            if text.startswith(b"[") and (are_sound or are_polygons(text)):
                self._some_outline = True
            else:
                texts[i] = self._checked_text(rows[i], places, damage, i)
        return texts

    def _checked_text(
        self,
        row: AnnotationRow,
        places: NDArray[np.int64],
        damage: NDArray[np.int64],
        i: int,
    ) -> bytes:
        """The JSON of the usable part of an outline; marks what is wrong with annotation ``i``."""
        outline: Any = row.segmentation
        if isinstance(outline, msgspec.Raw):
            outline = json.loads(bytes(outline) or b"null")
        self._some_outline = self._some_outline or bool(outline)
        if damage[i] == 0 and not outline:
            damage[i] = _NO_OUTLINE
        if damage[i]:
            return b""
        try:
            usable = checked_outline(outline, *self._images.sizes_hw[places[i]].tolist())
        except ValueError as error:
            if _BAD_OUTLINE not in self._damage:
                self._details[len(self) + i] = str(error)
            damage[i] = _BAD_OUTLINE
            return b""
        if isinstance(usable, list):
            usable = [list(map(float, polygon)) for polygon in usable]
        return msgspec.json.encode(usable)


def _is_crowd(value: object) -> bool | None:
    """What "iscrowd" says; None of what is neither 0 nor 1 in any of the usual spellings."""
    if value is None or isinstance(value, (bool, int, float)):
        return bool(value)
    word = value.strip().lower() if isinstance(value, str) else "?"
    return False if word in _NO else True if word in _YES else None


def _areas(rows: Sequence[AnnotationRow]) -> NDArray[np.float64]:
    """The area of each annotation, NaN where none is given that makes sense."""
    areas = [row.area if type(row.area) in (int, float) else -1 for row in rows]
    sensible = (area if 0 <= area <= _LARGEST_AREA else np.nan for area in areas)
    return np.fromiter(sensible, dtype=np.float64, count=len(areas))
