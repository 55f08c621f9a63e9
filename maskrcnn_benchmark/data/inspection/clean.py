"""A copy of annotated photos without what cannot be used; what is given is never changed."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import WHOLE
from maskrcnn_benchmark.data.image_io import JPEG_END, lacks_end
from maskrcnn_benchmark.data.inspection.findings import (
    MAKE_SINGLE,
    MENDED,
    REMOVE_OBJECTS,
    REMOVE_PHOTOS,
    SCALE,
    Finding,
)
from maskrcnn_benchmark.utils.files import atomic_write, write_json

ANNOTATIONS: Final = "_annotations.coco.json"
CHANGES: Final = "changes.txt"


class CleanPart(NamedTuple):
    """A part of the copy.

    Attributes:
        content: what its annotation file will hold.
        root: folder of the photos that are copied.
        changes: what differs from what was given, a line each.
    """

    content: dict[str, Any]
    root: Path
    changes: list[str]


def clean_part(dataset: DetectionDataset, root: Path, findings: Collection[Finding]) -> CleanPart:
    """The part without what findings tell of, its boxes cut to their photos.

    Args:
        dataset: the part; what it left out already is in none of its annotations.
        root: folder of its photos.
        findings: of this part.
    """
    content = dataset.ground_truth()
    photos, objects = _removed(dataset, findings)
    images = {entry["id"]: entry for entry in content["images"]}
    changes = [f"left out {images[i]['file_name']}: one of the {why}" for i, why in photos.items()]
    changes += [
        f"left out or numbered anew {place.text}: one of the {finding.what}"
        for finding in findings
        if finding.cure == MENDED
        for place in finding.places
    ]
    fractions = {place.annotation for one in findings if one.cure == SCALE for place in one.places}
    is_single = any(finding.cure == MAKE_SINGLE and finding.places for finding in findings)
    kept = []
    for entry in content["annotations"]:
        image = images[entry["image_id"]]
        where = f"annotation {entry['id']} of {image['file_name']}"
        if entry["image_id"] in photos:
            continue
        if entry["id"] in objects:
            changes.append(f"left out {where}: one of the {objects[entry['id']]}")
            continue
        if entry["id"] in fractions:
            changes.append(f"multiplied {where} by the size of its photo")
            entry = _scaled(entry, (image["width"], image["height"]))
        box = _clipped(entry["bbox"], (image["width"], image["height"]))
        if box != entry["bbox"]:
            changes.append(f"cut the box of {where} to its photo: {entry['bbox']} -> {box}")
        kept.append({**entry, "bbox": box, **({"iscrowd": 0} if is_single else {})})
    if is_single:
        changes.append("set iscrowd of all annotations to 0")
    left = [entry for entry in content["images"] if entry["id"] not in photos]
    own = {
        "images": _with_texts(left, "id", dataset.image_texts),
        "annotations": _with_texts(kept, "image_id", dataset.image_texts),
    }
    return CleanPart({**content, **own}, root, changes)


def _with_texts(
    entries: Collection[Mapping[str, Any]], key: str, texts: Mapping[int, str]
) -> list[dict[str, Any]]:
    """The entries with ids of images as the annotations had them."""
    return [{**entry, key: texts.get(entry[key], entry[key])} for entry in entries]


def _removed(
    dataset: DetectionDataset, findings: Collection[Finding]
) -> tuple[dict[int, str], dict[int, str]]:
    """Ids of the photos and of the annotations that are left out, with the reason."""
    photos: dict[int, str] = {}
    objects: dict[int, str] = {}
    for finding in findings:
        for place in finding.places:
            if finding.cure == REMOVE_PHOTOS and place.image >= 0:
                photos.setdefault(dataset.image_ids[place.image], finding.what)
            elif finding.cure == REMOVE_OBJECTS and place.annotation is not None:
                objects.setdefault(place.annotation, finding.what)
    return photos, objects


def _scaled(entry: Mapping[str, Any], size_wh: tuple[int, int]) -> dict[str, Any]:
    """An annotation of fractions of the photo's sides in px; an outline in px stays."""
    scaled = {**entry, "bbox": [value * size_wh[i % 2] for i, value in enumerate(entry["bbox"])]}
    scaled["area"] = scaled["bbox"][2] * scaled["bbox"][3]
    outline = entry.get("segmentation")
    if isinstance(outline, list) and all(value <= 1 for polygon in outline for value in polygon):
        scaled["segmentation"] = [
            [value * size_wh[i % 2] for i, value in enumerate(polygon)] for polygon in outline
        ]
    return scaled


def _clipped(box: list[float], size_wh: tuple[int, int]) -> list[float]:
    """The part of a box that lies in its photo; the box itself where that is all of it."""
    x1, y1 = max(0.0, box[0]), max(0.0, box[1])
    x2, y2 = min(size_wh[0], box[0] + box[2]), min(size_wh[1], box[1] + box[3])
    inside = [x1, y1, x2 - x1, y2 - y1]
    return inside if any(abs(a - b) > 1e-6 for a, b in zip(inside, box, strict=True)) else box


def write_clean_copy(parts: Mapping[str, CleanPart], folder: Path) -> Path:
    """Write annotations, photos and a list of changes to a new folder; returns the list's path.

    Raises:
        DatasetError: there is something in the folder already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"--fix: expected a new or empty folder, got {folder}")
    lines = []
    for split, part in parts.items():
        place = folder if split == WHOLE else folder / split
        place.mkdir(parents=True, exist_ok=True)
        for entry in part.content["images"]:
            target = place / _below(entry["file_name"])
            target.parent.mkdir(parents=True, exist_ok=True)
            if _copy_photo(part.root / entry["file_name"], target):
                lines.append(f"{split}: gave {entry['file_name']} the end that it lacked")
        images = [
            {**entry, "file_name": _below(entry["file_name"])} for entry in part.content["images"]
        ]
        write_json(place / ANNOTATIONS, {**part.content, "images": images})
        lines += [f"{split}: {change}" for change in part.changes]
    with atomic_write(folder / CHANGES, "w") as file:
        file.write("".join(f"{line}\n" for line in lines) or "nothing was changed\n")
    return folder / CHANGES


def _copy_photo(source: Path, target: Path) -> bool:
    """Copy a photo; whether the end of a JPEG was missing, and added."""
    shutil.copy2(source, target)
    if not lacks_end(target):
        return False
    with open(target, "ab") as file:
        file.write(JPEG_END)
    return True


def _below(file_name: str) -> str:
    """A relative path that does not lead out of its folder."""
    path = Path(file_name)
    return Path(*(part for part in path.parts if part not in ("..", path.anchor))).as_posix()
