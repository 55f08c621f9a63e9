"""The JSON of VGG Image Annotator, version 1 and 2: projects and exported annotations."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import (
    AnnotationFormat,
    AnyPath,
    ContentBuilder,
    Part,
    ellipse_polygon,
    find_photo,
    rectangle_polygon,
)
from maskrcnn_benchmark.data.formats.sniff import (
    mentions,
    one_of_each_split,
    read_json,
    split_of,
    subfolders,
)

logger = logging.getLogger(__name__)

_CLASS_ATTRIBUTES: Final = ("class", "label", "name", "category", "type", "object")
_ONLY_CLASS: Final = "object"
"""The class of regions that have no attribute to tell theirs."""


def read_via(annotations: AnyPath, images: AnyPath) -> Mapping[str, Any]:
    """Content of a file; the class of a region is the attribute that says it.

    That is the only attribute of the regions, or the one called "class", "label", "name",
    "category", "type" or "object"; regions without attributes are of one class, "object". Photos
    that are not there are left out and logged, as the file does not know their size.

    Args:
        annotations: the JSON file.
        images: folder of the photos.

    Raises:
        DatasetError: a file is not as it must be.
    """
    path, root = Path(annotations), Path(images)
    entries = _entries(path)
    attribute = _class_attribute(path, entries)
    builder = ContentBuilder()
    missing = []
    for entry in entries:
        photo = find_photo([root], str(entry.get("filename")))
        if photo is None:
            missing.append(str(entry.get("filename")))
            continue
        is_sound = builder.add_photo(photo, root) is not None
        for region in _regions(entry) if is_sound else ():
            try:
                polygon = _polygon(region["shape_attributes"])
            except (KeyError, TypeError, ValueError) as error:
                raise DatasetError(
                    f"{path}: a region of {photo.name} is not as VIA writes it "
                    f"({type(error).__name__}: {error})"
                ) from error
            if polygon is not None:
                builder.add_polygons(_class_of(region, attribute), [polygon])
    if missing:
        logger.warning(
            "%s: %d photos are not in %s and are left out: %s",
            path,
            len(missing),
            root,
            ", ".join(missing[:3]),
        )
    return builder.content()


def _entries(path: Path) -> list[Mapping[str, Any]]:
    """What is said of each photo."""
    content = read_json(path)
    entries = content.get("_via_img_metadata", content)
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise DatasetError(f"{path}: not in the format of VGG Image Annotator")
    return list(entries.values())


def _regions(entry: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    regions = entry.get("regions") or []
    # Version 1 numbers them, version 2 lists them.
    return list(regions.values()) if isinstance(regions, dict) else regions


def _class_attribute(path: Path, entries: Sequence[Mapping[str, Any]]) -> str | None:
    """The attribute that tells the class; None if regions have none at all."""
    found = set(_attributes(entries))
    named = [name for name in _CLASS_ATTRIBUTES if name in {one.lower() for one in found}]
    if len(found) > 1 and not named:
        raise DatasetError(
            f"{path}: which of the attributes {', '.join(sorted(found))} is the class? Call it "
            f"'class'"
        )
    if named:
        return next(one for one in found if one.lower() == named[0])
    return next(iter(found), None)


def _attributes(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        for region in _regions(entry):
            yield from region.get("region_attributes") or ()


def _class_of(region: Mapping[str, Any], attribute: str | None) -> str:
    value = (region.get("region_attributes") or {}).get(attribute)
    if isinstance(value, dict):  # check boxes: {"cat": true}
        value = next((name for name, is_set in value.items() if is_set), None)
    return str(value).strip() or _ONLY_CLASS if value is not None else _ONLY_CLASS


def _polygon(shape: Mapping[str, Any]) -> list[float] | None:
    """The outline, x and y in turn; None of what has no area."""
    kind = shape["name"]
    if kind == "polygon":
        xs, ys = shape["all_points_x"], shape["all_points_y"]
        return [float(value) for point in zip(xs, ys, strict=True) for value in point]
    if kind == "rect":
        x, y = float(shape["x"]), float(shape["y"])
        return rectangle_polygon([x, y, x + float(shape["width"]), y + float(shape["height"])])
    if kind in ("circle", "ellipse"):
        radius = shape.get("r")
        radii = (float(shape.get("rx", radius)), float(shape.get("ry", radius)))
        angle = float(shape.get("theta", 0.0))
        return ellipse_polygon((float(shape["cx"]), float(shape["cy"])), radii, angle)
    return None


def find_via(path: Path) -> dict[str, Part]:
    """The parts of a file, or of a folder with a file in it or in the folders of its splits."""
    if path.is_file():
        files, base = [path], path.parent
    else:
        folders = (path, *subfolders(path))
        files = [file for folder in folders for file in sorted(folder.glob("*.json"))]
        base = path
    found = [(split_of(file, base), file, _images_of(file)) for file in files if _is_via(file)]
    return one_of_each_split(found, read_via, "annotation files")


def _is_via(file: Path) -> bool:
    return mentions(file, "regions", "filename", "shape_attributes")


def _images_of(file: Path) -> Path:
    """The folder of the photos: beside the file, or "images" beside it."""
    names = [str(entry.get("filename")) for entry in _entries(file)]
    folders = (file.parent, file.parent / "images", file.parent.parent / "images")
    return max(folders, key=lambda folder: sum((folder / name).is_file() for name in names))


VIA = AnnotationFormat(
    name="via",
    title="VGG Image Annotator (a JSON project or export)",
    read=read_via,
    find=find_via,
    is_file=_is_via,
)
