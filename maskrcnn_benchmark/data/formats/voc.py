"""PASCAL VOC's XML, as the challenges, LabelImg and exports lay it out.

Source: the VOC2012 development kit: in SegmentationObject the pixels of the n-th object of the XML
file have the value n, and 255 is undecided.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from maskrcnn_benchmark.data.datasets.voc import is_difficult, object_box
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import (
    SPLIT_OF_NAME,
    WHOLE,
    AnnotationFormat,
    AnyPath,
    ContentBuilder,
    Part,
    find_photo,
    read_index_map,
)
from maskrcnn_benchmark.data.formats.sniff import split_folders


def read_voc(
    annotations: AnyPath,
    images: AnyPath,
    names: Sequence[str] | None = None,
    masks: Path | None = None,
) -> Mapping[str, Any]:
    """Content of XML files; with images of masks the objects' pixels, else their boxes.

    Difficult objects are crowds: not trained on, and neither right nor wrong when found.

    Args:
        annotations: folder of the XML files.
        images: folder of the photos.
        names: names of files without suffix; None takes all below ``annotations``.
        masks: folder of the images of masks (SegmentationObject); None: boxes only.

    Raises:
        DatasetError: a file is missing or not as it must be.
    """
    folder, root, builder = Path(annotations), Path(images), ContentBuilder()
    paths = sorted(folder.rglob("*.xml")) if names is None else [folder / f"{n}.xml" for n in names]
    for path in paths:
        element = _read_xml(path)
        written = (element.findtext("filename") or path.stem).strip()
        photo = find_photo([root, path.parent], written) or find_photo([root], path.stem)
        if photo is None:
            raise DatasetError(f"{path}: its photo {written} is not in {root}")
        if builder.add_photo(photo, root) is None:
            continue
        try:
            _add_objects(builder, element, masks and masks / f"{path.stem}.png")
        except ValueError as error:
            raise DatasetError(f"{path} is not in PASCAL VOC's format: {error}") from error
    return builder.content()


def _read_xml(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DatasetError(f"cannot read the annotations {path}: {error}") from error


def _add_objects(builder: ContentBuilder, element: ElementTree.Element, masks: Path | None) -> None:
    owner = None if masks is None else read_index_map(masks)
    for number, found in enumerate(element.iter("object"), start=1):
        name = (found.findtext("name") or "").strip()
        if not name:
            raise ValueError("an object without <name>")
        is_crowd = is_difficult(found)
        if owner is not None:
            builder.add_mask(name, owner == number, is_crowd=is_crowd)
        else:
            builder.add_box(name, object_box(found), is_crowd=is_crowd)


def find_voc(path: Path) -> dict[str, Part]:
    """The parts of a folder as VOC has it, or of folders with XML files beside or near photos."""
    if not path.is_dir():
        return {}
    if (path / "Annotations").is_dir() and (path / "JPEGImages").is_dir():
        return _challenge_parts(path)
    parts = {}
    for split, folder in split_folders(path):
        files = next((file for file in sorted(folder.rglob("*.xml")) if _is_voc(file)), None)
        if files is not None:
            parts[split] = Part(files.parent, _images_of(files), read_voc)
    return parts


def _is_voc(path: Path) -> bool:
    try:
        return ElementTree.parse(path).getroot().tag == "annotation"
    except (OSError, ElementTree.ParseError):
        return False


def _images_of(file: Path) -> Path:
    folders = (file.parent, file.parent.parent / "images", file.parent.parent / "JPEGImages")
    return next(
        (folder for folder in folders if find_photo([folder], file.stem) is not None), file.parent
    )


def _challenge_parts(path: Path) -> dict[str, Part]:
    """The splits that the lists of images give; masks where there are any."""
    masks = path / "SegmentationObject"
    has_masks = masks.is_dir()
    lists = path / "ImageSets" / ("Segmentation" if has_masks else "Main")
    parts = {}
    for file in sorted(lists.glob("*.txt")):
        split = SPLIT_OF_NAME.get(file.stem)
        if split is not None:
            names = file.read_text(encoding="utf-8").split()
            reader = partial(read_voc, names=names, masks=masks if has_masks else None)
            parts[split] = Part(path / "Annotations", path / "JPEGImages", reader)
    if parts:
        return parts
    return {WHOLE: Part(path / "Annotations", path / "JPEGImages", read_voc)}


VOC = AnnotationFormat(
    name="voc",
    title="PASCAL VOC (XML; boxes, or masks in SegmentationObject)",
    read=read_voc,
    find=find_voc,
)
