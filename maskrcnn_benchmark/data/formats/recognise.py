"""Telling formats by looking, and dividing data that come in one part."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.cityscapes import CITYSCAPES
from maskrcnn_benchmark.data.formats.coco import COCO
from maskrcnn_benchmark.data.formats.format import VAL, AnnotationFormat, AnyPath, Part
from maskrcnn_benchmark.data.formats.labelme import LABELME
from maskrcnn_benchmark.data.formats.masks import INSTANCE_IMAGES, OBJECT_IMAGES
from maskrcnn_benchmark.data.formats.via import VIA
from maskrcnn_benchmark.data.formats.voc import VOC
from maskrcnn_benchmark.data.formats.yolo import YOLO

FORMATS: Final[Sequence[AnnotationFormat]] = (
    *(COCO, YOLO, LABELME, VIA, VOC, CITYSCAPES, INSTANCE_IMAGES, OBJECT_IMAGES),
)

_VAL_SHARE: Final = 0.2


class FoundData(NamedTuple):
    """What was found in a file or folder.

    Attributes:
        format: how it is annotated.
        parts: by split.
    """

    format: AnnotationFormat
    parts: Mapping[str, Part]


def recognise(path: AnyPath, format_name: str = "") -> FoundData:
    """The annotated photos in a file or folder.

    Args:
        path: a file of annotations, or a folder.
        format_name: a name in ``FORMATS``; ``""`` looks.

    Raises:
        DatasetError: there is no such path, it holds no annotations of a known format, or of
            several; the text says what to do.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise DatasetError(f"no such file or folder of annotated photos: {place}")
    candidates = [find_format(format_name)] if format_name else FORMATS
    found = [FoundData(one, parts) for one in candidates if (parts := one.find(place))]
    found = [one for one in found if one.format.has_classes] or found
    if len(found) > 1:
        names = ", ".join(one.format.name for one in found)
        raise DatasetError(f"{place} holds annotations of several formats: {names}; say which")
    if not found:
        listed = "".join(f"\n  {one.name}: {one.title}" for one in candidates)
        raise DatasetError(f"{place} holds no annotated photos of a known format:{listed}")
    return found[0]


def find_format(name: str) -> AnnotationFormat:
    """The format of that name.

    Raises:
        DatasetError: there is none.
    """
    known = {one.name: one for one in FORMATS}
    if name not in known:
        raise DatasetError(f"unknown format {name!r} of annotations; known: {', '.join(known)}")
    return known[name]


def part_of_content(content: Mapping[str, Any], split: str, seed: int = 0) -> dict[str, Any]:
    """The photos of content that a division by photo gives to one split, and what is in them.

    A fifth of the photos, at least one of two or more, is for validation. The same photos always
    come to the same part, and a class stays in training unless it is in no photo.

    Args:
        content: of COCO's structure.
        split: ``TRAIN`` or ``VAL``.
        seed: another one divides otherwise.

    Raises:
        DatasetError: there is only one photo.
    """
    images, annotations = content.get("images", []), content.get("annotations", [])
    if not (_have(images, "id", "file_name") and _have(annotations, "image_id", "category_id")):
        return dict(content)  # It is refused when it is checked, which tells why.
    if len(images) < 2:
        raise DatasetError(
            f"{len(images)} photo: two or more are needed to keep one for validation"
        )
    chosen = _validation_ids(content, seed)
    kept = {image["id"] for image in images if (image["id"] in chosen) == (split == VAL)}
    return {
        **content,
        "images": [image for image in images if image["id"] in kept],
        "annotations": [a for a in annotations if a["image_id"] in kept],
    }


def _have(entries: object, *keys: str) -> bool:
    """Whether something is a sequence of objects with these keys."""
    return isinstance(entries, Sequence) and all(
        isinstance(entry, dict) and all(key in entry for key in keys) for entry in entries
    )


def _validation_ids(content: Mapping[str, Any], seed: int) -> set[int]:
    classes: defaultdict[int, set[int]] = defaultdict(set)
    for annotation in content.get("annotations", ()):
        classes[annotation["image_id"]].add(annotation["category_id"])
    left = Counter(category for found in classes.values() for category in found)
    ordered = sorted(content["images"], key=lambda image: _rank(image["file_name"], seed))
    wanted = max(1, round(len(ordered) * _VAL_SHARE))
    chosen: set[int] = set()
    for image in ordered:
        inside = classes[image["id"]]
        if len(chosen) < wanted and all(left[category] > 1 for category in inside):
            chosen.add(image["id"])
            left.subtract(inside)
    # All photos may be the only one of a class.
    return chosen or {ordered[0]["id"]}


def _rank(file_name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {file_name}".encode()).digest()
