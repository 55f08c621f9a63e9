"""LabelMe's JSON files, one beside each photo."""

import base64
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import (
    AnnotationFormat,
    AnyPath,
    ContentBuilder,
    Part,
    ellipse_polygon,
    find_photo,
    rectangle_polygon,
    relative_name,
)
from maskrcnn_benchmark.data.formats.sniff import mentions, read_json, split_folders
from maskrcnn_benchmark.data.image_io import read_size

_AREA_SHAPES: Final = ("polygon", "rectangle", "circle", "mask")
"""Those that have an area; points and lines are no objects."""


def read_labelme(annotations: AnyPath, images: AnyPath) -> Mapping[str, Any]:
    """Content of the files below a folder; shapes of one label and "group_id" are one object.

    Args:
        annotations: folder of the JSON files.
        images: folder that file names start from.

    Raises:
        DatasetError: a file is not as it must be, or its photo is not there.
    """
    root, builder = Path(images), ContentBuilder()
    for path in _files(Path(annotations)):
        content = read_json(path)
        written = str(content.get("imagePath") or path.stem)
        photo = find_photo([path.parent, root], written) or find_photo([path.parent], path.stem)
        if photo is None:
            raise DatasetError(f"{path}: its photo {written} is neither beside it nor in {root}")
        try:
            size_wh = (int(content["imageWidth"]), int(content["imageHeight"]))
        except (KeyError, TypeError, ValueError):
            if builder.add_photo(photo, root) is None:
                continue
            size_wh = read_size(photo)
        else:
            builder.add_image(relative_name(photo, root), size_wh)
        try:
            _add_shapes(builder, content["shapes"], size_wh)
        except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DatasetError(f"{path}: a shape is not as LabelMe writes it ({reason})") from error
    return builder.content()


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.json")) if _is_labelme(path)]


def _is_labelme(path: Path) -> bool:
    return mentions(path, "shapes", "imagePath")


def _add_shapes(
    builder: ContentBuilder, shapes: Sequence[Mapping[str, Any]], size_wh: tuple[int, int]
) -> None:
    groups: defaultdict[tuple[str, object], list[list[float]]] = defaultdict(list)
    for place, shape in enumerate(shapes):
        if shape.get("label") in (None, ""):
            raise ValueError("a shape without a label")
        kind = shape.get("shape_type") or "polygon"
        if kind not in _AREA_SHAPES:
            continue
        if kind == "mask":
            builder.add_mask(str(shape["label"]), _mask(shape, size_wh))
            continue
        group = shape.get("group_id")
        # Without a group each shape is an object of its own.
        key = (str(shape["label"]), ("single", place) if group is None else group)
        groups[key].append(_polygon(kind, shape["points"]))
    for (label, _), polygons in groups.items():
        builder.add_polygons(label, polygons)


def _polygon(kind: str, points: Sequence[Sequence[float]]) -> list[float]:
    if kind == "rectangle":
        return rectangle_polygon([*points[0], *points[1]])
    if kind == "circle":
        (x, y), edge = points[0], points[1]
        radius = math.dist((x, y), edge)
        return ellipse_polygon((x, y), (radius, radius))
    return [float(value) for x, y in points for value in (x, y)]


def _mask(
    shape: Mapping[str, Any], size_wh: tuple[int, int]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The mask of the whole photo; LabelMe keeps what lies in the box of its two points."""
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
        part = np.asarray(image.convert("L")) > 0
    left, top = (round(value) for value in shape["points"][0])
    mask = np.zeros((size_wh[1], size_wh[0]), dtype=np.bool_)
    height, width = mask[top : top + part.shape[0], left : left + part.shape[1]].shape
    mask[top : top + height, left : left + width] = part[:height, :width]
    return mask


def find_labelme(path: Path) -> dict[str, Part]:
    """The parts of a folder with LabelMe's files."""
    if not path.is_dir():
        return {}
    return {
        split: Part(folder, folder, read_labelme)
        for split, folder in split_folders(path)
        if any(map(_is_labelme, folder.rglob("*.json")))
    }


LABELME = AnnotationFormat(
    name="labelme",
    title="LabelMe (a JSON file beside each photo)",
    read=read_labelme,
    find=find_labelme,
)
