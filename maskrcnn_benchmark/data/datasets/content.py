"""Annotations as content of COCO's structure, checked, wherever they were read from.

What makes content unusable raises a ``DatasetError``: a missing section or entry, an entry of
another type, an id that occurs twice, an unknown category. What merely makes an annotation useless
is left out, counted and logged: an unknown image, a box or an outline that is damaged.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from maskrcnn_benchmark.data.datasets.keypoints import (
    checked_keypoints,
    has_person_keypoints,
    num_labelled,
)
from maskrcnn_benchmark.data.datasets.outlines import (
    Outline,
    are_coordinates,
    checked_outline,
    outline_area,
)
from maskrcnn_benchmark.data.errors import DatasetError

logger = logging.getLogger(__name__)

Entry: TypeAlias = dict[str, Any]

_NUM_EXAMPLES: Final = 3


_Test: TypeAlias = tuple[Callable[[Any], bool], str]

_ID: Final[_Test] = (lambda value: type(value) is int, "an integer")
_SIDE: Final[_Test] = (lambda value: type(value) is int and value > 0, "a positive integer")
_FILE: Final[_Test] = (lambda value: isinstance(value, str) and bool(value), "a file name")
_NAME: Final[_Test] = (_FILE[0], "a name")


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_four_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


_BOX: Final[_Test] = (_is_four_numbers, "[x, y, width, height]")
_REQUIRED: Final[Mapping[str, Mapping[str, _Test]]] = MappingProxyType(
    {
        "images": {"id": _ID, "file_name": _FILE, "height": _SIDE, "width": _SIDE},
        "categories": {"id": _ID, "name": _NAME},
        "annotations": {"id": _ID, "image_id": _ID, "category_id": _ID, "bbox": _BOX},
    }
)
"""What each entry of a section must have: key -> (test, what is expected)."""


class Skipped:
    """Annotations left out: how many, which and why."""

    def __init__(self) -> None:
        self._ids: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, reason: str, annotation_id: int) -> None:
        """Count an annotation, left out for a reason in the form "with an empty box"."""
        self._ids[reason].append(annotation_id)

    def __len__(self) -> int:
        return sum(len(ids) for ids in self._ids.values())

    def __str__(self) -> str:
        return "; ".join(
            f"{len(ids)} {why} (ids {examples(ids)})" for why, ids in self._ids.items()
        )


class _UselessError(Exception):
    """The reason to leave an annotation out."""


class CocoContent(NamedTuple):
    """Checked content without its damaged annotations; not to be changed, as data sets share it.

    Attributes:
        source: what to call it in messages, such as the file that it was read from.
        content: as it came; the annotations' "iscrowd" and "area" are filled in where missing.
            Polygons that are none are gone, RLEs are compressed with text counts.
        skipped: what was left out.
        has_outlines: whether any annotation has an outline. If so, those without were left out.
        has_keypoints: whether any annotation has a person's keypoints. If so, those without got
            "keypoints" that are not annotated; "num_keypoints" is there for all.
    """

    source: str
    content: Mapping[str, Any]
    skipped: Skipped
    has_outlines: bool
    has_keypoints: bool


def checked_content(content: Mapping[str, Any], source: str) -> CocoContent:
    """The content, checked, without its damaged annotations; what was given is left as it is.

    Args:
        content: lists "images", "categories" and "annotations" with the entries that COCO's JSON
            files have; further keys are allowed. "annotations" may be missing, as in test sets.
        source: what to call it in messages.

    Raises:
        DatasetError: it cannot be used as a whole.
    """
    whole = {"annotations": [], **content}
    for section, required in _REQUIRED.items():
        _check_section(whole, section, required, source)
    for section in ("images", "categories"):
        if not whole[section]:
            raise DatasetError(f"{source}: the list {section!r} is empty")
    _check_categories_known(whole, source)
    return _without_damaged(whole, source)


def sorted_categories(content: Mapping[str, Any], source: str) -> list[Entry]:
    """The entries of "categories" by ascending id: that is the order of labels, from 1.

    Args:
        content: as for ``checked_content``; other sections may be missing.
        source: what to call it in messages.

    Raises:
        DatasetError: there is no such section, or an entry is not as it must be.
    """
    _check_section(content, "categories", _REQUIRED["categories"], source)
    return sorted(content["categories"], key=lambda category: int(category["id"]))


def examples(values: Iterable[object]) -> str:
    """The first few values as text, with dots if there are more."""
    listed = list(values)
    more = ", ..." if len(listed) > _NUM_EXAMPLES else ""
    return ", ".join(str(value) for value in listed[:_NUM_EXAMPLES]) + more


def _check_section(
    content: Mapping[str, Any],
    section: str,
    required: Mapping[str, _Test],
    name: str,
) -> None:
    """Raise unless the section is a list of entries that have what they must and unique ids."""
    entries = content.get(section)
    if not isinstance(entries, list):
        raise DatasetError(
            f"{name}: {section!r} must be a list, not {type(entries).__name__}; is this an "
            "annotation file in COCO's format?"
        )
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        where = f"{name}: {section}[{position}]"
        if not isinstance(entry, dict):
            raise DatasetError(f"{where} must be an object, not {entry!r:.60}")
        for key, (is_valid, expected) in required.items():
            if not is_valid(entry.get(key)):
                came = f"{entry[key]!r:.60}" if key in entry else "nothing"
                raise DatasetError(
                    f"{where} (id {entry.get('id')}): {key!r} must be {expected}, not {came}"
                )
        if entry["id"] in seen:
            raise DatasetError(f"{where}: the id {entry['id']} occurs twice in {section!r}")
        seen.add(entry["id"])


def _check_categories_known(content: dict[str, Any], name: str) -> None:
    known = {category["id"] for category in content["categories"]}
    strangers = [a for a in content["annotations"] if a["category_id"] not in known]
    if strangers:
        unknown = sorted({annotation["category_id"] for annotation in strangers})
        raise DatasetError(
            f"{name}: {len(strangers)} annotations (ids {examples(a['id'] for a in strangers)}) "
            f"have category ids that are not in 'categories': {examples(unknown)}"
        )


def _without_damaged(content: dict[str, Any], name: str) -> CocoContent:
    sizes_hw = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    has_outlines = any(annotation.get("segmentation") for annotation in content["annotations"])
    has_keypoints = any(has_person_keypoints(annotation) for annotation in content["annotations"])
    skipped = Skipped()
    kept = []
    for annotation in content["annotations"]:
        try:
            checked = _checked(annotation, sizes_hw, has_outlines)
            kept.append(_with_keypoints(checked) if has_keypoints else checked)
        except _UselessError as reason:  # noqa: PERF203 - free where nothing is raised
            skipped.add(str(reason), annotation["id"])
    if content["annotations"] and not kept:
        raise DatasetError(f"{name}: no annotation is usable: {skipped}")
    return CocoContent(name, {**content, "annotations": kept}, skipped, has_outlines, has_keypoints)


def _checked(
    annotation: Entry, sizes_hw: Mapping[int, tuple[int, int]], has_outlines: bool
) -> Entry:
    """The annotation with its optional entries filled in."""
    if annotation["image_id"] not in sizes_hw:
        raise _UselessError("with an image id that is not in 'images'")
    if not are_coordinates(annotation["bbox"]):
        raise _UselessError("with a box that is not finite")
    checked = {**annotation, "iscrowd": 1 if annotation.get("iscrowd") else 0}
    has_area = _is_number(annotation.get("area")) and annotation["area"] >= 0
    if not has_area:
        checked["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    if has_outlines:
        height_width = sizes_hw[annotation["image_id"]]
        checked["segmentation"] = outline = _outline(annotation, *height_width)
        if not has_area:
            checked["area"] = outline_area(outline, *height_width)
    return checked


def _with_keypoints(annotation: Entry) -> Entry:
    try:
        keypoints = checked_keypoints(annotation.get("keypoints"))
    except ValueError as error:
        logger.debug("annotation %d: %s", annotation["id"], error)
        raise _UselessError("with damaged keypoints") from error
    return {**annotation, "keypoints": keypoints, "num_keypoints": num_labelled(keypoints)}


def _outline(annotation: Entry, height: int, width: int) -> Outline:
    if not annotation.get("segmentation"):
        raise _UselessError("without an outline, while others have one")
    try:
        return checked_outline(annotation["segmentation"], height, width)
    except ValueError as error:
        logger.debug("annotation %d: %s", annotation["id"], error)
        raise _UselessError("with a damaged outline") from error
