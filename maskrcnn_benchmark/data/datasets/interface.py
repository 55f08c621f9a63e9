"""What every data set offers, and data sets written for the original made to offer it, too."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from PIL import Image
from torch.utils.data import Dataset

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.evaluation import COCOEvaluator, Evaluator, ProposalEvaluator
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList

Sample: TypeAlias = tuple[Any, BoxList, int]
"""The image (PIL, or a tensor after the transforms), its boxes, and its id."""


CROWD_LABEL: Final = -1
"""What crowds have for a class where they are targets: they are no objects, but no background."""

_NUM_NAMES: Final = 10
_FROM_DATASET: Final = (
    *("name", "categories", "contiguous_category_id_to_json_id", "has_masks", "has_keypoints"),
    *("get_img_info", "read_image", "get_target", "ground_truth"),
)


class DetectionDataset(Dataset[Sample]):
    """Images with boxes, by position from 0; a subclass has the methods that are asked of it.

    Attributes:
        name: what to call it in messages.
        transforms: what ``dataset[i]`` does to image and target; None does nothing.
        image_ids: the id of each image.
        image_texts: image id -> what result files have in its place, where annotations have a text.
        categories: contiguous id (from 1; 0 is background) -> category name.
        has_class_names: whether these are names that mean something.
        contiguous_category_id_to_json_id: contiguous id -> id in the ground truth and in results.
        has_masks: whether targets have the field "masks".
        has_keypoints: whether targets have the field "keypoints" (of persons).
        num_damaged: annotations that are left out everywhere, because they make no sense.
        division_part: which part it is of data that were divided by photo here, "train" or "val";
            "" of all others.
        needed_side: px of the shorter side that are enough for ``transforms``: photos may be read
            at a fraction of their size, as ``read_image`` in ``data.image_io`` says. None: never.
        pixel_offset: of the boxes in samples, see ``BoxList``; ``get_target`` may have another.
        keypoint_offset: of keypoints in samples, see ``Keypoints``; likewise.
        gives_crowds: targets have crowds, too, after all else, with the label ``CROWD_LABEL``.
        gives_bitmaps: masks of targets are bitmaps, rasterised as COCO does, not polygons.
    """

    name: str
    transforms: Transform | None = None
    image_ids: Sequence[int]
    image_texts: Mapping[int, str] = MappingProxyType({})
    categories: Mapping[int, str]
    has_class_names: bool = True
    contiguous_category_id_to_json_id: Mapping[int, int]
    has_masks: bool = False
    has_keypoints: bool = False
    num_damaged: int = 0
    division_part: str = ""
    needed_side: int | None = None
    pixel_offset: int = LEGACY_PIXEL_OFFSET
    keypoint_offset: int = LEGACY_PIXEL_OFFSET
    gives_crowds: bool = False
    gives_bitmaps: bool = False

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Sample:
        """The (image, target, image id) at a position, after the transforms.

        Raises:
            ImageReadError: the image cannot be read.
        """
        if self.needed_side is None:
            image = self.read_image(index)
        else:
            image = self.read_reduced_image(index, self.needed_side)
        target = self._with_offsets(self.get_target(index))
        if self.transforms is not None:
            image, target = self.transforms(image, target)
        # UPSTREAM(image-id-in-sample): coco.py gave the index, for id_to_img_map to translate.
        return image, target, self.image_ids[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {len(self)} images)"

    def _with_offsets(self, target: BoxList) -> BoxList:
        """The target itself where its pixel offsets are those of samples already."""
        if target.pixel_offset != self.pixel_offset:
            target = target.with_pixel_offset(self.pixel_offset)
        if self.keypoint_offset == LEGACY_PIXEL_OFFSET or not target.has_field("keypoints"):
            return target
        moved = target.get_field("keypoints").with_pixel_offset(self.keypoint_offset)
        return target.with_field("keypoints", moved)

    @classmethod
    def known_categories(cls, **arguments: Any) -> Mapping[int, str]:  # noqa: ARG003 - of the data set
        """The categories, as far as they are known without the photos being here; else nothing.

        The arguments are those of the catalog entry.
        """
        return {}

    def with_classes(self, names: Mapping[int, str]) -> "DetectionDataset":
        """The same images with the labels of other classes, which are told by their names.

        Annotations of classes that are not among ``names`` are left out.

        Args:
            names: label (from 1) -> name.

        Raises:
            DatasetError: not all of its classes have the labels that they have here, and this kind
                of data set cannot give them others.
        """
        if all(names.get(label) == name for label, name in self.categories.items()):
            if len(names) == len(self.categories):
                return self
            other = copy.copy(self)
            other.categories = dict(names)
            other.contiguous_category_id_to_json_id = with_new_ids(
                self.contiguous_category_id_to_json_id, names
            )
            return other
        raise DatasetError(
            f"the data set {self.name} has the classes {_listed(self.categories)}, but the model "
            f"{_listed(names)}; data sets of the class {type(self).__name__} cannot be matched by "
            "names: that needs a method with_classes"
        )

    @cached_property
    def id_to_img_map(self) -> Mapping[int, int]:
        """Position -> image id."""
        return dict(enumerate(self.image_ids))

    def get_img_info(self, index: int) -> Mapping[str, Any]:
        """What is known without reading the image: "height" and "width" in px, at least."""
        raise self._lacks(f"get_img_info({index})")

    def read_image(self, index: int) -> Image.Image:
        """The image at a position as RGB, unchanged."""
        raise self._lacks(f"read_image({index})")

    def read_reduced_image(self, index: int, needed_side: int) -> Image.Image:  # noqa: ARG002 - see below
        """The same, or a smaller version of it whose shorter side has ``needed_side`` px."""
        return self.read_image(index)

    def check_image(self, index: int, *, whole: bool) -> None:
        """Raise what reading the image at a position would raise.

        Args:
            index: the position.
            whole: read all of it; else look only at what is had for little, such as its size.

        Raises:
            ImageReadError: the image cannot be used.
        """

    def get_target(self, index: int) -> BoxList:
        """What to train on in the image at a position, in px of the original image.

        K boxes xyxy with the fields "labels" ((K,) int64 contiguous ids) and, if the data set has
        them, "masks" and "keypoints"; K may be 0.
        """
        raise self._lacks(f"get_target({index})")

    def ground_truth(self) -> dict[str, Any]:
        """What is to be found in the images, as content of COCO's format that is the caller's own.

        Annotations have "iscrowd" and "area"; their ids are at least 1.
        """
        raise self._lacks("ground_truth()")

    def _lacks(self, call: str) -> DatasetError:
        return DatasetError(
            f"the data set {self.name} has no {call}, which is needed here; see "
            "maskrcnn_benchmark.data.datasets.DetectionDataset"
        )

    def make_evaluator(
        self,
        iou_types: Sequence[str],
        *,
        box_only: bool = False,
        backend: str = "hotcoco",
        output_folder: str | Path | None = None,
    ) -> Evaluator[Any]:
        """What measures a model on this data set.

        Args:
            iou_types: the tasks, some of "bbox", "segm" and "keypoints".
            box_only: measure the recall of proposals without classes instead.
            backend: what computes COCO's numbers, "hotcoco" or "pycocotools".
            output_folder: where result files go; None writes none.

        Raises:
            DatasetError: the data set does not tell what is to be found.
        """
        if getattr(self.ground_truth, "__func__", None) is DetectionDataset.ground_truth:
            raise self._lacks("ground_truth()")
        if box_only:
            return ProposalEvaluator(self, output_folder)
        return COCOEvaluator(self, iou_types, backend, output_folder)


class AdaptedDataset(DetectionDataset):
    """A data set of any class with ``__getitem__``, ``__len__`` and ``get_img_info``.

    What it lacks is filled in: its name, its categories, and ids of images: those in its
    ``get_img_info``, or else positions. Samples carry these ids, whatever the data set gives as
    their third part; targets are taken to have what the model asks for. Everything else that the
    data set has can be asked for as before.

    Args:
        dataset: a data set, for example one written for maskrcnn-benchmark.
        name: what to call it if it has no name.
        categories: its categories if it has none.
    """

    def __init__(self, dataset: Any, name: str, categories: Mapping[int, str]) -> None:  # noqa: ANN401 - any data set
        self.dataset = dataset
        self.name, self.categories = name, categories
        self.has_masks = self.has_keypoints = True
        for attribute in _FROM_DATASET:
            if hasattr(dataset, attribute):
                setattr(self, attribute, getattr(dataset, attribute))
        self.image_ids = getattr(dataset, "image_ids", None) or [
            dataset.get_img_info(index).get("id", index) for index in range(len(dataset))
        ]
        self.has_class_names = hasattr(dataset, "categories")
        if not hasattr(dataset, "contiguous_category_id_to_json_id"):
            self.contiguous_category_id_to_json_id = {label: label for label in self.categories}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the data set has
        if name == "dataset" or name.startswith("__"):  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> Sample:
        """The image and target that the data set gives, transformed by it, and the image's id."""
        image, target, _ = self.dataset[index]
        # Photos of a test may have none.
        if target is not None:
            target = self._with_offsets(target)
        return image, target, self.image_ids[index]


def with_new_ids(
    ids: Mapping[int, int], labels: Iterable[int], taken: Iterable[int] = ()
) -> dict[int, int]:
    """Label -> id as given, and for further labels ids that are neither given nor taken."""
    further = sorted(set(labels) - set(ids))
    last = max([0, *ids.values(), *taken])
    return {**ids, **{label: last + i for i, label in enumerate(further, start=1)}}


def _listed(classes: Mapping[int, str]) -> str:
    """The first few names, in the order of labels."""
    names = [classes[label] for label in sorted(classes)]
    return ", ".join(names[:_NUM_NAMES]) + (", ..." if len(names) > _NUM_NAMES else "")


def as_detection_dataset(
    dataset: object, name: str, categories: Mapping[int, str] = MappingProxyType({})
) -> DetectionDataset:
    """The data set itself if it is a ``DetectionDataset``, else an ``AdaptedDataset`` around it."""
    if isinstance(dataset, DetectionDataset):
        return dataset
    return AdaptedDataset(dataset, name, categories)
