"""Annotations as content of COCO's structure, checked, wherever they were read from.

What makes content unusable raises a ``DatasetError``: a missing section or entry, an entry of
another type, an id that occurs twice, an unknown category. What merely makes an annotation useless
is left out, counted and logged: an unknown image, a box or an outline that is damaged. What only
looks different is read: whole numbers written as 1.0 or "1", a polygon that is in no list. Ids of
annotations name them in messages alone: where they are missing or no numbers, others are made. Ids
of images may be texts: numbers stand for them here, and results have the texts.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from maskrcnn_benchmark.data.datasets.annotation_table import AnnotationTable, ImageTable
from maskrcnn_benchmark.data.datasets.coco_json import JsonEntries
from maskrcnn_benchmark.data.datasets.collector import (
    AnnotationCollector,
    AnnotationRow,
    Id,
    Skipped,
    examples,
)
from maskrcnn_benchmark.data.datasets.outlines import are_coordinates
from maskrcnn_benchmark.data.errors import DatasetError

Entry: TypeAlias = dict[str, Any]
Row = TypeVar("Row", bound=msgspec.Struct)

_CHUNK: Final = 4096
"""Entries that are Python objects at a time."""

_Test: TypeAlias = tuple[Callable[[Any], bool], str]

_ID: Final[_Test] = (
    lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "an integer of less than 64 bits",
)
_IMAGE_ID: Final[_Test] = (_ID[0], f"{_ID[1]}, or a text")
_SIDE: Final[_Test] = (lambda value: type(value) is int and value > 0, "a positive integer")
_FILE: Final[_Test] = (lambda value: isinstance(value, str) and bool(value), "a file name")
_NAME: Final[_Test] = (_FILE[0], "a name")


def _is_four_numbers(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(type(number) in (int, float) for number in value)
    )


_BOX: Final[_Test] = (_is_four_numbers, "[x, y, width, height]")
_REQUIRED: Final[Mapping[str, Mapping[str, _Test]]] = MappingProxyType(
    {
        "images": {"id": _IMAGE_ID, "file_name": _FILE, "height": _SIDE, "width": _SIDE},
        "categories": {"id": _ID, "name": _NAME},
        "annotations": {"image_id": _IMAGE_ID, "category_id": _ID, "bbox": _BOX},
    }
)
"""What each entry of a section must have: key -> (test, what is expected)."""
_WHOLE_NUMBERS: Final = ("id", "image_id", "category_id", "height", "width")
_TEXT_IDS: Final = MappingProxyType({"images": "id", "annotations": "image_id"})
"""Where each section has ids that may be texts."""
_FIRST_MADE_ID: Final = 10**15
"""Far from ids that files have."""
_WHOLE_TEXT: Final = re.compile("-?[0-9]{1,19}")

_Side: TypeAlias = Annotated[int, msgspec.Meta(gt=0)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _ImageRow(msgspec.Struct, gc=False):
    id: Id
    file_name: _Text
    height: _Side
    width: _Side


class _CategoryRow(msgspec.Struct, gc=False):
    id: Id
    name: _Text


class CocoContent(NamedTuple):
    """Checked content without its damaged annotations; not to be changed, as data sets share it.

    Attributes:
        source: what to call it in messages, such as the file that it was read from.
        images: all of them.
        categories: category id -> name, ascending; the first has the label 1.
        annotations: "iscrowd" and "area" are filled in where missing. Polygons that are none are
            gone, RLEs are compressed with text counts.
        skipped: what was left out.
        has_outlines: whether any annotation has an outline; those without were left out then. Where
            no outlines are asked for: whether all have one.
        has_keypoints: whether any annotation has a person's keypoints and keypoints are asked for.
            If so, those without got keypoints that are not annotated.
        image_texts: image id here -> what the source has, where that is a text and no number.
    """

    source: str
    images: ImageTable
    categories: Mapping[int, str]
    annotations: AnnotationTable
    skipped: Skipped
    has_outlines: bool
    has_keypoints: bool
    image_texts: Mapping[int, str] = MappingProxyType({})


def checked_content(
    content: Mapping[str, Any], source: str, fields: Collection[str] | None = None
) -> CocoContent:
    """The content in arrays, checked; what was given is left as it is.

    Args:
        content: lists "images", "categories" and "annotations" with the entries that COCO's JSON
            files have; further keys are allowed. "annotations" may be missing, as in test sets.
        source: what to call it in messages.
        fields: what is asked for besides boxes, some of "masks" and "keypoints": what is wrong with
            the others does not count. None asks for all that there is.

    Raises:
        DatasetError: it cannot be used as a whole.
    """
    whole = {"annotations": [], **content}
    texts = _TextIds()
    images = _image_table(whole, source, texts)
    categories = {entry["id"]: entry["name"] for entry in sorted_categories(whole, source)}
    collected = AnnotationCollector(images, fields)
    for rows in _rows(whole, "annotations", AnnotationRow, source, texts):
        collected.add(rows)
    _check_unique(collected.ids, "annotations", source)
    if not categories:
        raise DatasetError(f"{source}: the list 'categories' is empty")
    _check_categories_known(collected, categories, source)
    table, skipped = collected.table(list(categories))
    if len(skipped) == len(collected) > 0:
        raise DatasetError(f"{source}: no annotation is usable: {skipped.explained()}")
    return CocoContent(
        source,
        images,
        categories,
        table,
        skipped,
        collected.has_outlines,
        collected.has_keypoints,
        texts.by_number(),
    )


def sorted_categories(content: Mapping[str, Any], source: str) -> list[Entry]:
    """The entries of "categories" by ascending id: that is the order of labels, from 1.

    Args:
        content: as for ``checked_content``; other sections may be missing.
        source: what to call it in messages.

    Raises:
        DatasetError: there is no such section, or an entry is not as it must be.
    """
    chunks = _rows(content, "categories", _CategoryRow, source, _TextIds())
    rows = [row for rows in chunks for row in rows]
    _check_unique(np.array([row.id for row in rows], dtype=np.int64), "categories", source)
    return [{"id": row.id, "name": row.name} for row in sorted(rows, key=lambda row: row.id)]


class _TextIds:
    """Numbers for ids that are texts, in the order in which these come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """That of a text, always the same."""
        return self._numbers.setdefault(text, _FIRST_MADE_ID + len(self._numbers))

    def by_number(self) -> dict[int, str]:
        """Number -> text."""
        return {number: text for text, number in self._numbers.items()}


def _image_table(content: Mapping[str, Any], source: str, texts: _TextIds) -> ImageTable:
    ids, sizes_hw, names = [], [], []
    for rows in _rows(content, "images", _ImageRow, source, texts):
        ids += [row.id for row in rows]
        sizes_hw += [(row.height, row.width) for row in rows]
        names += [row.file_name for row in rows]
    if not ids:
        raise DatasetError(f"{source}: the list 'images' is empty")
    _check_unique(np.array(ids, dtype=np.int64), "images", source, texts.by_number())
    return ImageTable.from_columns(ids, sizes_hw, names)


def _rows(
    content: Mapping[str, Any], section: str, kind: type[Row], source: str, texts: _TextIds
) -> Iterator[list[Row]]:
    """The entries of a section in chunks, all of which have what they must."""
    entries = content.get(section)
    if not isinstance(entries, (list, JsonEntries)):
        raise DatasetError(
            f"{source}: {section!r} must be a list, not {type(entries).__name__}; is this an "
            "annotation file in COCO's format?"
        )
    for start in range(0, len(entries), _CHUNK):
        stop = min(start + _CHUNK, len(entries))
        rows = entries.rows(start, stop, kind) if isinstance(entries, JsonEntries) else None
        yield rows or [
            _row(_with_number(entry, section, texts), section, kind, source, position)
            for position, entry in enumerate(entries[start:stop], start)
        ]


def _with_number(entry: object, section: str, texts: _TextIds) -> object:
    """The entry with a number in place of an id of an image that is a text."""
    key = _TEXT_IDS.get(section)
    text = entry.get(key) if key and isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(text, str) or not text or is_whole(text):
        return entry
    return {**entry, key: texts.number(text)}


def _row(entry: object, section: str, kind: type[Row], source: str, position: int) -> Row:
    """The structure of an entry that has what it must."""
    where = f"{source}: {section}[{position}]"
    if not isinstance(entry, dict):
        raise DatasetError(f"{where} must be an object, not {entry!r:.60}")
    entry = _with_integers(entry)
    for key, (is_valid, expected) in _REQUIRED[section].items():
        if not is_valid(entry.get(key)):
            came = f"{entry[key]!r:.60}" if key in entry else "nothing"
            raise DatasetError(
                f"{where} (id {entry.get('id')}): {key!r} must be {expected}, not {came}"
            )
    row = {key: entry[key] for key in kind.__struct_fields__ if key in entry}
    if not _ID[0](row.get("id")):
        row["id"] = _FIRST_MADE_ID + position
    if "bbox" in row and not are_coordinates(row["bbox"]):
        row["bbox"] = (math.nan,) * 4
    return kind(**row)


def _with_integers(entry: Entry) -> Entry:
    """The entry with 1 in place of 1.0, as pandas and MATLAB write whole numbers, and of "1"."""
    found = {key: entry[key] for key in _WHOLE_NUMBERS if type(entry.get(key)) in (float, str)}
    return {**entry, **{key: int(value) for key, value in found.items() if is_whole(value)}}


def is_whole(value: float | str) -> bool:
    """Whether a number is whole, also if it is written as a text; it is read as one then."""
    if isinstance(value, str):
        return _WHOLE_TEXT.fullmatch(value) is not None
    return value.is_integer()


def _check_unique(
    ids: NDArray[np.int64],
    section: str,
    source: str,
    texts: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Raise if an id occurs twice; ``texts`` are what some of them stand for."""
    order = ids.argsort(kind="stable")
    again = order[1:][np.diff(ids[order]) == 0]
    if len(again):
        first = int(again.min())
        own = texts.get(int(ids[first]), ids[first])
        raise DatasetError(
            f"{source}: {section}[{first}]: the id {own} occurs twice in {section!r}"
        )


def _check_categories_known(
    collected: AnnotationCollector, categories: Mapping[int, str], source: str
) -> None:
    is_strange = ~np.isin(collected.category_ids, list(categories))
    if is_strange.any():
        strangers = collected.ids[is_strange].tolist()
        unknown = sorted(set(collected.category_ids[is_strange].tolist()))
        raise DatasetError(
            f"{source}: {len(strangers)} annotations (ids {examples(strangers)}) "
            f"have category ids that are not in 'categories': {examples(unknown)}"
        )
