"""Cityscapes: polygons in gtFine/<split>/<city>, photos in leftImg8bit/<split>/<city>.

Source: Cordts et al., arXiv 1604.01685; the published label definitions: instances are told apart
of eight classes; "<class>group" is a crowd of them; later polygons lie in front of earlier ones.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import (
    SPLIT_OF_NAME,
    WHOLE,
    AnnotationFormat,
    AnyPath,
    ContentBuilder,
    Part,
    find_photo,
    relative_name,
)
from maskrcnn_benchmark.data.formats.sniff import read_json, subfolders

_IDS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "person": 24,
        "rider": 25,
        "car": 26,
        "truck": 27,
        "bus": 28,
        "train": 31,
        "motorcycle": 32,
        "bicycle": 33,
    }
)
"""The classes that are evaluated by instance."""

_GROUP: Final = "group"
_POLYGONS: Final = "_polygons.json"


def read_cityscapes(annotations: AnyPath, images: AnyPath) -> Mapping[str, Any]:
    """Content of the polygons below a folder: visible masks of the eight classes with instances.

    Category ids are Cityscapes' own (person 24 to bicycle 33).

    Args:
        annotations: folder such as gtFine/train.
        images: folder such as leftImg8bit/train.

    Raises:
        DatasetError: a file is not as it must be, or its photo is not there.
    """
    root, builder = Path(images), ContentBuilder(list(_IDS))
    for path in sorted(Path(annotations).rglob(f"*{_POLYGONS}")):
        content = read_json(path)
        stem = path.name.removesuffix(_POLYGONS).rsplit("_gt", 1)[0]
        below = root / path.parent.relative_to(annotations)
        photo = find_photo([below, root], f"{stem}_leftImg8bit.png") or find_photo([below], stem)
        if photo is None:
            raise DatasetError(f"{path}: its photo {stem}_leftImg8bit is not in {below}")
        try:
            size_wh = (int(content["imgWidth"]), int(content["imgHeight"]))
            builder.add_image(relative_name(photo, root), size_wh)
            _add_objects(builder, content["objects"], size_wh)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: not as Cityscapes writes it: {error!r}") from error
    content = builder.content()
    ids = dict(enumerate(_IDS.values(), start=1))
    for category in content["categories"]:
        category["id"] = ids[category["id"]]
    for annotation in content["annotations"]:
        annotation["category_id"] = ids[annotation["category_id"]]
    return content


def _add_objects(
    builder: ContentBuilder, objects: list[Mapping[str, Any]], size_wh: tuple[int, int]
) -> None:
    """Add what is visible of each object."""
    canvas = Image.new("I", size_wh)
    draw = ImageDraw.Draw(canvas)
    found = []
    for number, entry in enumerate(objects, start=1):
        if entry.get("deleted"):
            continue
        points = [(float(x), float(y)) for x, y in entry["polygon"]]
        if len(points) > 1:
            draw.polygon(points, fill=number, outline=number)
        label = str(entry["label"])
        name = label.removesuffix(_GROUP)
        if name in _IDS:
            found.append((number, name, name != label))
    owner = np.asarray(canvas)
    for number, name, is_group in found:
        builder.add_mask(name, owner == number, is_crowd=is_group)


def find_cityscapes(path: Path) -> dict[str, Part]:
    """The parts of a folder with gtFine (or gtCoarse) and leftImg8bit."""
    for truth in ("gtFine", "gtCoarse"):
        folders = [path] if path.name == truth else [path / truth]
        for folder in folders:
            images = folder.parent / "leftImg8bit"
            splits = {SPLIT_OF_NAME.get(below.name, WHOLE): below for below in subfolders(folder)}
            parts = {
                split: Part(below, images / below.name, read_cityscapes)
                for split, below in splits.items()
                if (images / below.name).is_dir() and any(below.rglob(f"*{_POLYGONS}"))
            }
            if parts:
                return parts
    return {}


CITYSCAPES = AnnotationFormat(
    name="cityscapes",
    title="Cityscapes (gtFine polygons and leftImg8bit)",
    read=read_cityscapes,
    find=find_cityscapes,
)
