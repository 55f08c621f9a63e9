"""Ids that do not fit each other, in content of COCO's structure as a reader gives it."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from maskrcnn_benchmark.data.datasets.content import is_whole
from maskrcnn_benchmark.data.inspection.findings import ERROR, MENDED, Finding, Place

_Entry = Mapping[str, Any]


class Mended(NamedTuple):
    """Content whose ids fit each other.

    Attributes:
        content: the same without entries that could not be used, perhaps with other ids.
        findings: what was wrong.
    """

    content: dict[str, Any]
    findings: list[Finding]


def mend_ids(content: Mapping[str, Any]) -> Mended:
    """The content with ids that fit each other, and what did not; given is left as it is.

    Photos and classes of an id that occurred before are left out, annotations get new ids if some
    occur twice, those of unknown photos and classes are left out. Content of another structure
    comes back as it is: a data set is refused for that.
    """
    sections = [content.get(key, []) for key in ("images", "categories", "annotations")]
    if not all(_has_entries(section) for section in sections):
        return Mended(dict(content), [])
    images, categories, annotations = map(list, sections)
    kept_images, twice = _first_of_each(images)
    kept_categories, double_classes = _first_of_each(categories)
    places = [_annotation_place(entry) for entry in _first_of_each(annotations)[1]]
    if places:
        annotations = [{**entry, "id": i} for i, entry in enumerate(annotations, start=1)]
    classes = {_as_read(entry["id"]) for entry in kept_categories}
    photos = {_as_read(entry["id"]) for entry in kept_images}
    used_classes = [_as_read(entry.get("category_id")) for entry in annotations]
    used_photos = [_as_read(entry.get("image_id")) for entry in annotations]
    stray = _of_unknown(annotations, used_classes, classes)
    lost = _of_unknown(annotations, used_photos, photos)
    dropped = {id(entry) for entry in (*stray, *lost)}
    kept = [entry for entry in annotations if id(entry) not in dropped]
    findings = [
        Finding(ERROR, "photos whose id another one has", tuple(map(_photo_place, twice))),
        Finding(
            ERROR,
            "classes whose id another one has",
            tuple(Place(f"{entry.get('name')} with id {entry['id']}") for entry in double_classes),
        ),
        Finding(ERROR, "annotations whose id another one has", tuple(places)),
        Finding(
            ERROR,
            "annotations of classes that are not in the list",
            tuple(map(_annotation_place, stray)),
            _shift_advice(used_classes, classes),
        ),
        Finding(
            ERROR,
            "annotations of photos that are not in the list",
            tuple(map(_annotation_place, lost)),
            _shift_advice(used_photos, photos),
        ),
    ]
    mended = {"images": kept_images, "categories": kept_categories, "annotations": kept}
    told = [finding._replace(cure=MENDED) for finding in findings if finding.places]
    return Mended({**content, **mended}, told)


def _has_entries(section: object) -> bool:
    return isinstance(section, Sequence) and all(
        isinstance(entry, dict) and isinstance(entry.get("id"), (int, float, str))
        for entry in section
    )


def _first_of_each(entries: Sequence[_Entry]) -> tuple[list[_Entry], list[_Entry]]:
    """The entries whose id did not occur before, and the others."""
    seen: Counter[Any] = Counter()
    first: list[_Entry] = []
    others: list[_Entry] = []
    for entry in entries:
        number = _as_read(entry["id"])
        (others if seen[number] else first).append(entry)
        seen[number] += 1
    return first, others


def _as_read(value: Any) -> Any:  # noqa: ANN401 - whatever a file has for an id
    """An id as data sets read it: 1.0 and "1" are 1; what cannot be an id, as a text."""
    if isinstance(value, (float, str)) and is_whole(value):
        return int(value)
    return value if isinstance(value, Hashable) else repr(value)


def _of_unknown(
    annotations: Sequence[_Entry], used: Sequence[Any], known: Set[Any]
) -> list[_Entry]:
    return [one for one, number in zip(annotations, used, strict=True) if number not in known]


def _photo_place(entry: _Entry) -> Place:
    return Place(f"{entry.get('file_name')} with id {entry['id']}")


def _annotation_place(entry: _Entry) -> Place:
    numbers = f"image {entry.get('image_id')}, class {entry.get('category_id')}"
    return Place(f"annotation {entry['id']} of {numbers}")


def _shift_advice(used: Sequence[Any], known: Set[Any]) -> str:
    """A hint, if all would fit with one more or one less."""
    numbers = {value for value in used if isinstance(value, (int, float))}
    for step in (1, -1):
        if numbers and {value + step for value in numbers} <= known:
            return f"all would fit with {step:+d}: are they counted from another number?"
    return ""
