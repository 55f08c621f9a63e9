"""Photos with annotations in PASCAL VOC's format."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import NDArray

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.content import CocoContent, Entry
from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.datasets.readers import read_content
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.evaluation import Evaluator, VOCEvaluator
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList

_CLASSES: Final = (
    *("__background__", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)
_LABELS: Final = {name: label for label, name in enumerate(_CLASSES) if label}
_FIRST_PIXEL: Final = 1  # of VOC's coordinates


def read_voc(split_file: str | os.PathLike[str], root: str | os.PathLike[str]) -> dict[str, Any]:  # noqa: ARG001 - of a reader
    """The content of a list of images and of their annotation files, difficult objects as crowds.

    Args:
        split_file: such as ``VOC2007/ImageSets/Main/train.txt``; ``VOC2007/Annotations`` holds the
            annotations.
        root: folder of the images; not needed.

    Raises:
        DatasetError: a file is missing or not in VOC's format, or a class is unknown.
    """
    path = Path(split_file)
    content: dict[str, list[Entry]] = {
        "images": [],
        "categories": [{"id": label, "name": name} for name, label in _LABELS.items()],
        "annotations": [],
    }
    for name in _names(path):
        image, objects = _image(path.parents[2] / "Annotations" / f"{name}.xml")
        content["images"].append(image)
        for number, one in enumerate(objects, start=len(content["annotations"]) + 1):
            content["annotations"].append({"id": number, "image_id": image["id"], **one})
    return content


class PascalVOCDataset(COCODataset):
    """Images with their boxes and labels, from a folder as the VOC challenges have it.

    The folder holds ``ImageSets/Main/<split>.txt``, ``Annotations/<name>.xml`` and
    ``JPEGImages/<name>.jpg``. Its 20 classes have the labels 1..20, in alphabetical order. The id
    of an image is the digits of its name. Objects marked as difficult are no training targets
    unless asked for, but stay in the ground truth for evaluation, marked.

    Args:
        data_dir: the folder, such as ``datasets/voc/VOC2007``.
        split: name of the list of images, "train", "val", "trainval" or "test".
        use_difficult: whether difficult objects are training targets, too.
        transforms: called as ``transforms(image, target)``, returns the pair.
        content: what ``read_voc`` returned for the split, checked; None reads it.
        pixel_offset: of the boxes, see ``BoxList``.

    Raises:
        DatasetError: as ``read_voc`` and ``COCODataset``.
    """

    CLASSES: ClassVar[tuple[str, ...]] = _CLASSES

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        split: str,
        use_difficult: bool = False,
        transforms: Transform | None = None,
        *,
        content: CocoContent | None = None,
        pixel_offset: int = LEGACY_PIXEL_OFFSET,
    ) -> None:
        paths = _paths(data_dir, split)
        name = f"{Path(data_dir).name}_{split}"
        content = content or read_content(*paths, read_voc)
        super().__init__(content, paths[1], False, transforms, name=name, pixel_offset=pixel_offset)
        self.split = split
        self.use_difficult = use_difficult

    @classmethod
    def from_entry(
        cls, arguments: Mapping[str, Any], read: Callable[..., CocoContent], **more: Any
    ) -> "PascalVOCDataset":
        """The data set of a catalog entry; its name is that of folder and split."""
        content = read(*_paths(arguments["data_dir"], arguments["split"]), read_voc)
        own = {key: more[key] for key in ("transforms", "pixel_offset") if key in more}
        return cls(**arguments, **own, content=content)

    @classmethod
    def known_categories(cls, **arguments: Any) -> dict[int, str]:  # noqa: ARG003 - the same for all
        """The 20 classes, wherever the photos are."""
        return {label: name for name, label in _LABELS.items()}

    def with_classes(self, names: Mapping[int, str]) -> DetectionDataset:
        """As in the base class: labels of VOC's own numbers have a meaning to its evaluator."""
        return DetectionDataset.with_classes(self, names)

    def map_class_id_to_class_name(self, class_id: int) -> str:
        """The name of a label."""
        return self.CLASSES[class_id]

    def get_groundtruth(self, index: int) -> BoxList:
        """All objects of the image at a position: boxes xyxy with "labels" and "difficult" (bool).

        Boxes are px of the original image, counted from 0.
        """
        rows = self._table.rows(self._places[index])
        truth = self._boxes(index, rows)
        truth.add_field("difficult", torch.from_numpy(self._table.is_crowd[rows]))
        return truth

    def make_evaluator(
        self,
        iou_types: Sequence[str],
        *,
        box_only: bool = False,
        backend: str = "hotcoco",  # noqa: ARG002 - for COCO's numbers
        output_folder: str | Path | None = None,
    ) -> Evaluator[Any]:
        """What measures a model by VOC's own numbers, whatever the tasks; see the base class."""
        if box_only:
            return super().make_evaluator(iou_types, box_only=True, output_folder=output_folder)
        return VOCEvaluator(self, output_folder)

    def _target_rows(self, place: int) -> NDArray[np.int64]:
        return self._table.rows(place) if self.use_difficult else super()._target_rows(place)


def _paths(data_dir: str | os.PathLike[str], split: str) -> tuple[str, str]:
    """The list of a split, and the folder of the images."""
    root = os.fspath(data_dir)
    return os.path.join(root, "ImageSets", "Main", f"{split}.txt"), os.path.join(root, "JPEGImages")


def _names(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DatasetError(f"cannot read the list of images {path}: {error.strerror}") from error
    wrong = [name for name in names if not name.replace("_", "").isdigit()]
    if wrong or not names:
        got = f"{wrong[0]!r}" if wrong else "nothing"
        raise DatasetError(f"{path}: expected one image name of digits a line, got {got}")
    return names


def _image(path: Path) -> tuple[Entry, list[Entry]]:
    """The entry of an image, and what its objects say of themselves."""
    try:
        root = ElementTree.parse(path).getroot()
        height, width = (int(_number(root, "size", side)) for side in ("height", "width"))
        objects = [_object(element) for element in root.findall("object")]
    except OSError as error:
        raise DatasetError(f"cannot read the annotations {path}: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"{path} is not in PASCAL VOC's format: {error}") from error
    image = {"id": int(path.stem.replace("_", "")), "file_name": f"{path.stem}.jpg"}
    return {**image, "height": height, "width": width}, objects


def _object(element: ElementTree.Element) -> Entry:
    name = (element.findtext("name") or "").strip().lower()
    if name not in _LABELS:
        raise ValueError(f"unknown class {name!r}")
    return {
        "category_id": _LABELS[name],
        "bbox": object_box(element),
        "iscrowd": int(is_difficult(element)),
    }


def object_box(element: ElementTree.Element) -> list[float]:
    """The box [x, y, width, height] of an <object>, px counted from 0.

    Raises:
        ValueError: a corner is missing or no number.
    """
    left, top, right, bottom = (
        _number(element, "bndbox", side) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    width, height = right - left + 1, bottom - top + 1
    return [left - _FIRST_PIXEL, top - _FIRST_PIXEL, width, height]


def is_difficult(element: ElementTree.Element) -> bool:
    """Whether an <object> is marked as hard to find."""
    return (element.findtext("difficult") or "0").strip() == "1"


def _number(element: ElementTree.Element, parent: str, tag: str) -> float:
    """The number in a tag in a tag of the element."""
    text = element.findtext(f"{parent}/{tag}")
    if text is None:
        raise ValueError(f"no <{parent}> with a <{tag}> in <{element.tag}>")
    return float(text)
