"""Photos with annotations in PASCAL VOC's format."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from xml.etree import ElementTree

import torch
from PIL import Image

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.evaluation import Evaluator, VOCEvaluator
from maskrcnn_benchmark.structures.bounding_box import BoxList

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FIRST_PIXEL = 1  # of VOC's coordinates


class _VOCObject(NamedTuple):
    """One object: corners in px counted from 0, its label, and whether it is a hard one."""

    box: tuple[float, ...]
    label: int
    is_difficult: bool


class _VOCImage(NamedTuple):
    name: str
    width: int
    height: int
    objects: tuple[_VOCObject, ...]


class PascalVOCDataset(DetectionDataset):
    """Images with their boxes and labels, from a folder as the VOC challenges have it.

    The folder holds ``ImageSets/Main/<split>.txt``, ``Annotations/<name>.xml`` and
    ``JPEGImages/<name>.jpg``. Its 20 classes have the labels 1..20, in alphabetical order. Objects
    marked as difficult are no training targets unless asked for, but stay in the ground truth for
    evaluation, marked.

    Args:
        data_dir: the folder, such as ``datasets/voc/VOC2007``.
        split: name of the list of images, "train", "val", "trainval" or "test".
        use_difficult: whether difficult objects are training targets, too.
        transforms: called as ``transforms(image, target)``, returns the pair.

    Attributes:
        name: folder and split, such as "VOC2007_train".
        image_ids: a number for each image: the digits of its name.

    and those of ``DetectionDataset``.

    Raises:
        DatasetError: a file is missing or not in VOC's format, or a class is unknown.
    """

    CLASSES: ClassVar[tuple[str, ...]] = (
        *("__background__", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
        *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
        *("sheep", "sofa", "train", "tvmonitor"),
    )

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        split: str,
        use_difficult: bool = False,
        transforms: Transform | None = None,
    ) -> None:
        self.root = Path(data_dir)
        self.split = split
        self.name = f"{self.root.name}_{split}"
        self.use_difficult = use_difficult
        self.transforms = transforms
        self.categories = self.known_categories()
        self.contiguous_category_id_to_json_id = {i: i for i in self.categories}
        self._images = [self._read_annotations(name) for name in self._names()]
        self.image_ids = [int(image.name.replace("_", "")) for image in self._images]

    @classmethod
    def known_categories(cls, **arguments: Any) -> dict[int, str]:  # noqa: ARG003 - the same for all
        """The 20 classes, wherever the photos are."""
        return dict(list(enumerate(cls.CLASSES))[1:])

    def get_img_info(self, index: int) -> dict[str, Any]:
        """The "id", "file_name", "height" and "width" (px) of the image at a position."""
        image = self._images[index]
        return {
            "id": self.image_ids[index],
            "file_name": f"{image.name}.jpg",
            "height": image.height,
            "width": image.width,
        }

    def read_image(self, index: int) -> Image.Image:
        """The image at a position as RGB, unchanged.

        Raises:
            ImageReadError: it cannot be read.
        """
        info = self.get_img_info(index)
        path = self.root / "JPEGImages" / info["file_name"]
        return read_image(path, expected_wh=(info["width"], info["height"]))

    def map_class_id_to_class_name(self, class_id: int) -> str:
        """The name of a label."""
        return self.CLASSES[class_id]

    def get_target(self, index: int) -> BoxList:
        """The training targets of the image at a position: K boxes xyxy with "labels"."""
        truth = self.get_groundtruth(index)
        if not self.use_difficult:
            truth = truth[~truth.get_field("difficult")]
        return truth.copy_with_fields("labels").clip_to_image(remove_empty=True)

    def get_groundtruth(self, index: int) -> BoxList:
        """All objects of the image at a position: boxes xyxy with "labels" and "difficult" (bool).

        Boxes are px of the original image, counted from 0.
        """
        image = self._images[index]
        boxes = torch.tensor([one.box for one in image.objects], dtype=torch.float32)
        truth = BoxList(boxes.reshape(-1, 4), (image.width, image.height))
        labels = torch.tensor([one.label for one in image.objects], dtype=torch.int64)
        truth.add_field("labels", labels)
        difficult = torch.tensor([one.is_difficult for one in image.objects], dtype=torch.bool)
        truth.add_field("difficult", difficult)
        return truth

    def ground_truth(self) -> dict[str, Any]:
        """The annotations in COCO's format, difficult objects as crowds."""
        annotations: list[dict[str, Any]] = []
        for index, image in enumerate(self._images):
            boxes = self.get_groundtruth(index).convert("xywh").bbox.tolist()
            annotations += [
                {
                    "id": number,
                    "image_id": self.image_ids[index],
                    "category_id": one.label,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(one.is_difficult),
                }
                for number, (one, box) in enumerate(
                    zip(image.objects, boxes, strict=True), start=len(annotations) + 1
                )
            ]
        return {
            "images": [self.get_img_info(index) for index in range(len(self))],
            "categories": [{"id": i, "name": name} for i, name in self.categories.items()],
            "annotations": annotations,
        }

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

    def _names(self) -> list[str]:
        path = self.root / "ImageSets" / "Main" / f"{self.split}.txt"
        try:
            names = path.read_text(encoding="utf-8").split()
        except OSError as error:
            raise DatasetError(
                f"cannot read the list of images {path}: {error.strerror}"
            ) from error
        wrong = [name for name in names if not name.replace("_", "").isdigit()]
        if wrong or not names:
            got = f"{wrong[0]!r}" if wrong else "nothing"
            raise DatasetError(f"{path}: expected one image name of digits a line, got {got}")
        return names

    def _read_annotations(self, name: str) -> _VOCImage:
        path = self.root / "Annotations" / f"{name}.xml"
        try:
            root = ElementTree.parse(path).getroot()
            size = root.find("size")
            if size is None:
                raise ValueError("no <size>")
            objects = tuple(self._read_object(element) for element in root.findall("object"))
            return _VOCImage(name, _whole(size, "width"), _whole(size, "height"), objects)
        except OSError as error:
            raise DatasetError(f"cannot read the annotations {path}: {error.strerror}") from error
        except (ElementTree.ParseError, ValueError) as error:
            raise DatasetError(f"{path} is not in PASCAL VOC's format: {error}") from error

    def _read_object(self, element: ElementTree.Element) -> _VOCObject:
        class_name = (element.findtext("name") or "").strip().lower()
        if class_name not in self.CLASSES[1:]:
            raise ValueError(f"unknown class {class_name!r}")
        corners = element.find("bndbox")
        if corners is None:
            raise ValueError(f"an object of the class {class_name!r} has no <bndbox>")
        box = tuple(_number(corners, corner) - _FIRST_PIXEL for corner in _CORNERS)
        is_difficult = (element.findtext("difficult") or "0").strip() == "1"
        return _VOCObject(box, self.CLASSES.index(class_name), is_difficult)


def _number(element: ElementTree.Element, tag: str) -> float:
    text = element.findtext(tag)
    if text is None:
        raise ValueError(f"no <{tag}> in <{element.tag}>")
    return float(text)


def _whole(element: ElementTree.Element, tag: str) -> int:
    return int(_number(element, tag))
