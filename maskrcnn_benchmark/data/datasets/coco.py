"""Photos with annotations in COCO's format."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskrcnn_benchmark.data.datasets.classes import matched_labels, unknown_names
from maskrcnn_benchmark.data.datasets.collector import Skipped, examples
from maskrcnn_benchmark.data.datasets.content import CocoContent, checked_content, sorted_categories
from maskrcnn_benchmark.data.datasets.interface import CROWD_LABEL, DetectionDataset, with_new_ids
from maskrcnn_benchmark.data.datasets.keypoints import MIN_KEYPOINTS_PER_IMAGE
from maskrcnn_benchmark.data.datasets.outlines import Outline
from maskrcnn_benchmark.data.datasets.readers import COCO_JSON, find_reader, read_content
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.data.image_io import look_at_image, read_image
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.polygon_list import PolygonList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

logger = logging.getLogger(__name__)


class COCODataset(DetectionDataset):
    """Images with their boxes, labels and masks, from annotations of COCO's structure.

    Images come in ascending order of their ids. Category ids are mapped to 1..K in ascending
    order; 0 is background. Crowds and boxes of which nothing lies in the image are no training
    targets, but stay in the ground truth for evaluation. Damaged annotations are in neither; they
    are counted and logged.

    Args:
        ann_file: a JSON file in COCO's format, or what was read from a file of any format.
        root: folder that the file names of images start from.
        remove_images_without_annotations: leave out images without any training target, and where
            the data set has keypoints those with less than ten annotated ones.
        transforms: called as ``transforms(image, target)``, returns the pair.
        image_ids: use these images only; None takes all of the file.
        keep_unannotated: do not leave out images without any annotation: they show background.
        name: what to call the data set in messages; None takes the name of the file.
        pixel_offset: of the boxes, see ``BoxList``.

    Attributes:
        ann_file: path of the file, or what the content was called.
        root: folder of the images.
        json_category_id_to_contiguous_id: COCO category id -> contiguous id.
        skipped: the damaged annotations, which are left out.

    and those of ``DetectionDataset``.

    Raises:
        DatasetError: the file or folder is missing, the file is not in COCO's format, an image id
            asked for is not in it, or no image is left.
    """

    def __init__(
        self,
        ann_file: str | os.PathLike[str] | CocoContent,
        root: str | os.PathLike[str],
        remove_images_without_annotations: bool,
        transforms: Transform | None = None,
        *,
        image_ids: Collection[int] | None = None,
        keep_unannotated: bool = False,
        name: str | None = None,
        pixel_offset: int = LEGACY_PIXEL_OFFSET,
    ) -> None:
        checked = ann_file if isinstance(ann_file, CocoContent) else read_content(ann_file, root)
        self.ann_file = checked.source
        self.root = os.fspath(root)
        self.name = Path(checked.source).stem if name is None else name
        self.transforms = transforms
        if not os.path.isdir(self.root):
            raise DatasetError(f"{self.name}: no such folder of images: {self.root}")
        self.has_masks = checked.has_outlines
        self.has_keypoints = checked.has_keypoints
        self.skipped = checked.skipped
        self.num_damaged = len(checked.skipped)
        if checked.skipped:
            logger.warning("%s: annotations left out: %s", self.name, checked.skipped.explained())
        self.categories = dict(enumerate(checked.categories.values(), start=1))
        self.contiguous_category_id_to_json_id = dict(enumerate(checked.categories, start=1))
        self.json_category_id_to_contiguous_id = {
            json_id: i for i, json_id in self.contiguous_category_id_to_json_id.items()
        }
        self.image_texts = checked.image_texts
        self.pixel_offset = pixel_offset
        self._images = checked.images
        self._table = checked.annotations.with_pixel_offset(checked.images, pixel_offset)
        # Position -> place in the table of images.
        self._places = self._chosen_places(image_ids)
        if remove_images_without_annotations:
            self._places = self._places_with_targets(keep_unannotated)
        self.image_ids = self._images.ids[self._places].tolist()

    @classmethod
    def from_content(
        cls,
        content: Mapping[str, Any],
        root: str | os.PathLike[str],
        remove_images_without_annotations: bool = False,
        transforms: Transform | None = None,
        *,
        image_ids: Collection[int] | None = None,
        name: str = "content",
    ) -> COCODataset:
        """The data set of annotations in memory, as in COCO's JSON files; see ``checked_content``.

        The other arguments are those of the class.
        """
        checked = checked_content(content, name)
        remove = remove_images_without_annotations
        return cls(checked, root, remove, transforms, image_ids=image_ids, name=name)

    @classmethod
    def from_entry(
        cls, arguments: Mapping[str, Any], read: Callable[..., CocoContent], **more: Any
    ) -> COCODataset:
        """The data set of a catalog entry.

        Args:
            arguments: of the entry.
            read: ``read_content``, or one that remembers what it has read.
            more: what a run says besides, "transforms", "name", "pixel_offset", whether images to
                train on are wanted, "remove_images_without_annotations", and "fields", as in
                ``checked_content``.
        """
        arguments = dict(arguments)
        reader, fields = arguments.pop("reader", COCO_JSON), more.pop("fields", None)
        arguments["ann_file"] = read(arguments["ann_file"], arguments["root"], reader, fields)
        return cls(**arguments, **more)

    @classmethod
    def known_categories(cls, **arguments: Any) -> dict[int, str]:
        """The categories of the annotation file; nothing if it is not here."""
        ann_file = arguments["ann_file"]
        if not os.path.exists(ann_file):
            return {}
        read = find_reader(arguments.get("reader", COCO_JSON))
        categories = sorted_categories(read(ann_file, arguments["root"]), ann_file)
        return {label: category["name"] for label, category in enumerate(categories, start=1)}

    def with_classes(self, names: Mapping[int, str]) -> DetectionDataset:
        """The same images with the labels of other classes, which are told by their names.

        Annotations of classes that are not among ``names`` are left out, counted and logged. Ids of
        the classes that the data have stay as they are; others get new ones.

        Args:
            names: label (from 1) -> name.

        Raises:
            DatasetError: none of the names is known here.
        """
        if dict(names) == self.categories:
            return self
        known = matched_labels(self.categories, names)
        if not known:
            raise DatasetError(
                f"{self.name}: none of its classes, {examples(self.categories.values())}, is one "
                f"of {examples(names.values())}; name them alike"
            )
        self._tell_unknown(names, set(known))
        other = copy.copy(self)
        own_ids = self.contiguous_category_id_to_json_id
        given = {label: own_ids[own] for own, label in known.items()}
        # Ids of classes that are left out are not used again.
        ids = with_new_ids(given, names, own_ids.values())
        other.categories = dict(names)
        other.contiguous_category_id_to_json_id = ids
        other.json_category_id_to_contiguous_id = {i: label for label, i in ids.items()}
        new_labels = [known.get(own, 0) for own in range(len(self.categories) + 1)]
        other._table = self._table.with_labels(np.array(new_labels))
        return other

    def _tell_unknown(self, names: Mapping[int, str], known: Collection[int]) -> None:
        labels = [label for label in self.categories if label not in known]
        table = self._table
        num_left_out = np.isin(table.labels[table.rows_by_image], labels).sum()
        if num_left_out:
            logger.warning(
                "%s: its classes %s are not among those of the model (%s): %d annotations of them "
                "are left out",
                self.name,
                ", ".join(unknown_names(self.categories, names)),
                ", ".join(names.values()),
                num_left_out,
            )

    def get_img_info(self, index: int) -> dict[str, Any]:
        """The "id", "file_name", "height" and "width" (px) of the image at a position."""
        return self._images.info(self._places[index])

    def read_image(self, index: int) -> Image.Image:
        """The image at a position as RGB, unchanged.

        Raises:
            ImageReadError: it cannot be read; the text names file and image id.
        """
        return self._read(index, None)

    def read_reduced_image(self, index: int, needed_side: int) -> Image.Image:
        """The same, or a smaller version of it whose shorter side has ``needed_side`` px."""
        return self._read(index, needed_side)

    def check_image(self, index: int, *, whole: bool) -> None:
        """Raise what reading the image at a position would raise; see the base class."""
        with self._told_of(index) as (path, size_wh):
            if whole:
                read_image(path, size_wh)
            else:
                look_at_image(path, size_wh)

    def _read(self, index: int, needed_side: int | None) -> Image.Image:
        with self._told_of(index) as (path, size_wh):
            return read_image(path, size_wh, needed_side)

    @contextmanager
    def _told_of(self, index: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """A block whose errors name the image: its path and the size that annotations say."""
        info = self.get_img_info(index)
        try:
            yield os.path.join(self.root, info["file_name"]), (info["width"], info["height"])
        except ImageReadError as error:
            own_id = self.image_texts.get(info["id"], info["id"])
            raise ImageReadError(f"{error} (image id {own_id} of {self.ann_file})") from error

    def get_target(self, index: int) -> BoxList:
        """The training targets of the image at a position, in px of the original image.

        K boxes xyxy inside the image, with the fields "labels" ((K,) int64, contiguous ids) and,
        if the data set has any, "masks" (SegmentationMask) and "keypoints" (PersonKeypoints); K may
        be 0. Masks are polygons unless one of the image is an RLE or bitmaps are wanted
        (``gives_bitmaps``). Where crowds are wanted (``gives_crowds``), they are the last boxes.
        """
        rows = self._target_rows(self._places[index])
        num_objects = len(rows)
        rows = np.concatenate([rows, self._crowd_rows(self._places[index], rows)])
        target = self._boxes(index, rows)
        target.labels[num_objects:] = CROWD_LABEL
        if self.has_masks:
            outlines = [self._table.outline(row) for row in rows]
            # An RLE may have holes, which polygons cannot say.
            as_bitmaps = self.gives_bitmaps or any(isinstance(each, dict) for each in outlines)
            target.add_field("masks", self._masks(outlines, target.size, as_bitmaps=as_bitmaps))
        if self.has_keypoints:
            keypoints = torch.from_numpy(self._table.keypoints[rows].astype("float32"))
            target.add_field("keypoints", PersonKeypoints(keypoints, target.size))
        return target.clip_to_image(remove_empty=True)

    def _masks(
        self, outlines: list[Outline], size_wh: tuple[int, int], *, as_bitmaps: bool
    ) -> SegmentationMask:
        if as_bitmaps:
            return SegmentationMask(outlines, size_wh, mode="mask")
        # Programs whose boxes are half-open keep polygons in double precision.
        dtype = np.float32 if self.pixel_offset == LEGACY_PIXEL_OFFSET else np.float64
        return SegmentationMask(PolygonList(outlines, size_wh, dtype), size_wh)

    def ground_truth(self) -> dict[str, Any]:
        """The annotations of this data set's images in COCO's format, for evaluation.

        With crowds and tiny boxes, without damaged annotations, image by image. Entries have what
        evaluation needs; what else was in the file is gone. The caller may change them.
        """
        annotations = [
            {
                **self._table.annotation(row),
                "image_id": image_id,
                "category_id": self.contiguous_category_id_to_json_id[int(self._table.labels[row])],
            }
            for place, image_id in zip(self._places, self.image_ids, strict=True)
            for row in self._table.rows(place)
        ]
        # pycocotools takes the id 0 for "not matched".
        if any(annotation["id"] < 1 for annotation in annotations):
            annotations = [{**a, "id": i} for i, a in enumerate(annotations, start=1)]
        json_ids = self.contiguous_category_id_to_json_id
        return {
            "images": [self.get_img_info(index) for index in range(len(self))],
            "categories": [{"id": json_ids[i], "name": n} for i, n in self.categories.items()],
            "annotations": annotations,
        }

    def _target_rows(self, place: int) -> NDArray[np.int64]:
        return self._table.targets(place)

    def _crowd_rows(self, place: int, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of an image that are crowds and no targets, if they are wanted."""
        rows = self._table.rows(place)
        is_crowd = self._table.is_crowd[rows] & ~np.isin(rows, targets)
        return rows[is_crowd & self.gives_crowds]

    def _boxes(self, index: int, rows: NDArray[np.int64]) -> BoxList:
        """Boxes xyxy of some rows of the table with their "labels"."""
        info = self.get_img_info(index)
        boxes_xywh = torch.from_numpy(self._table.boxes_xywh[rows].astype("float32"))
        size_wh = (info["width"], info["height"])
        boxes = BoxList(boxes_xywh, size_wh, mode="xywh", pixel_offset=self.pixel_offset)
        boxes = boxes.convert("xyxy")
        boxes.add_field("labels", torch.from_numpy(self._table.labels[rows]))
        return boxes

    def _chosen_places(self, image_ids: Collection[int] | None) -> NDArray[np.int64]:
        """The places in the table of the images asked for, in ascending order of their ids."""
        if image_ids is None:
            return np.arange(len(self._images.ids))
        wanted = sorted(set(image_ids))
        places = self._images.places(wanted)
        if (places < 0).any():
            unknown = [wanted[i] for i in np.flatnonzero(places < 0).tolist()]
            raise DatasetError(
                f"{self.name}: image_ids {examples(unknown)} are not in {self.ann_file}"
            )
        if not wanted:
            raise DatasetError(f"{self.name}: image_ids is empty")
        return places

    def _places_with_targets(self, keep_unannotated: bool) -> NDArray[np.int64]:
        """The places in the table of images that can be trained on; what is left out is logged."""
        table, num_images = self._table, len(self._images.ids)
        skipped = Skipped()
        is_chosen = np.isin(table.image_places, self._places)
        for row in np.flatnonzero(is_chosen & ~table.is_target):
            empty = "with an empty box or one outside of the image"
            skipped.add("of crowds" if table.is_crowd[row] else empty, int(table.ids[row]))
        if skipped:
            logger.warning("%s: annotations not trained on: %s", self.name, skipped)
        # UPSTREAM(crowd-only-images): coco.py kept images that have nothing but crowds, to be
        # trained on as background. COCO 2017 has no such image.
        weights, needed = None, 1
        if self.has_keypoints:
            weights = (table.keypoints[table.is_target, 2::3] > 0).sum(axis=1)
            needed = MIN_KEYPOINTS_PER_IMAGE
        found = np.bincount(table.image_places[table.is_target], weights, num_images)
        has_targets = found[self._places] >= needed
        is_bare = np.diff(table.first_row)[self._places] == 0
        kept = (
            self._places[has_targets | is_bare] if keep_unannotated else self._places[has_targets]
        )
        if not has_targets.any():
            raise DatasetError(
                f"{self.name}: none of the {len(self._places)} images of {self.ann_file} has an "
                "annotation to train on"
            )
        if len(kept) < len(self._places):
            logger.info(
                "%s: %d of %d images have no annotation to train on and are left out",
                self.name,
                len(self._places) - len(kept),
                len(self._places),
            )
        return kept
