"""Photos with annotations in COCO's format."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from maskrcnn_benchmark.data.datasets.annotation_table import AnnotationTable, has_trainable_box
from maskrcnn_benchmark.data.datasets.coco_json import (
    CocoContent,
    Entry,
    Skipped,
    examples,
    read_coco_json,
)
from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.datasets.keypoints import MIN_KEYPOINTS_PER_IMAGE
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

logger = logging.getLogger(__name__)

_IMAGE_KEYS: Final = ("id", "file_name", "height", "width")


class COCODataset(DetectionDataset):
    """Images with their boxes, labels and masks, from a JSON file in COCO's format.

    Images come in ascending order of their ids. Category ids are mapped to 1..K in ascending
    order; 0 is background. Crowds and boxes of which nothing lies in the image are no training
    targets, but stay in the ground truth for evaluation. Damaged annotations are in neither; they
    are counted and logged.

    Args:
        ann_file: the JSON file.
        root: folder that the file names of images start from.
        remove_images_without_annotations: leave out images without any training target, and where
            the data set has keypoints those with less than ten annotated ones.
        transforms: called as ``transforms(image, target)``, returns the pair.
        image_ids: use these images only; None takes all of the file.
        name: what to call the data set in messages; None takes the name of the file.

    Attributes:
        ann_file: path of the JSON file.
        root: folder of the images.
        name: as given.
        json_category_id_to_contiguous_id: COCO category id -> contiguous id.

    and those of ``DetectionDataset``.

    Raises:
        DatasetError: the file or folder is missing, the file is not in COCO's format, an image id
            asked for is not in it, or no image is left.
    """

    def __init__(
        self,
        ann_file: str | os.PathLike[str],
        root: str | os.PathLike[str],
        remove_images_without_annotations: bool,
        transforms: Transform | None = None,
        *,
        image_ids: Collection[int] | None = None,
        name: str | None = None,
    ) -> None:
        self.ann_file = os.fspath(ann_file)
        self.root = os.fspath(root)
        self.name = Path(ann_file).stem if name is None else name
        self.transforms = transforms
        checked = read_coco_json(ann_file)
        if not os.path.isdir(self.root):
            raise DatasetError(f"{self.name}: no such folder of images: {self.root}")
        self.has_masks = checked.has_outlines
        self.has_keypoints = checked.has_keypoints
        self.num_damaged = len(checked.skipped)
        categories = sorted(checked.content["categories"], key=lambda category: category["id"])
        self.categories = {i: category["name"] for i, category in enumerate(categories, start=1)}
        self.contiguous_category_id_to_json_id = {
            i: category["id"] for i, category in enumerate(categories, start=1)
        }
        self.json_category_id_to_contiguous_id = {
            json_id: i for i, json_id in self.contiguous_category_id_to_json_id.items()
        }
        images = self._chosen_images(checked.content["images"], image_ids)
        targets, skipped = _training_targets(checked, images)
        if checked.skipped:
            logger.warning("%s: annotations left out: %s", self.name, checked.skipped)
        if skipped and remove_images_without_annotations:
            logger.warning("%s: annotations not trained on: %s", self.name, skipped)
        if remove_images_without_annotations:
            images = self._with_targets(images, targets)
        self._images = [tuple(image[key] for key in _IMAGE_KEYS) for image in images]
        self._table = AnnotationTable.from_annotations(
            [targets[image["id"]] for image in images], self.json_category_id_to_contiguous_id
        )
        self.image_ids = [image["id"] for image in images]

    def get_img_info(self, index: int) -> dict[str, Any]:
        """The "id", "file_name", "height" and "width" (px) of the image at a position."""
        return dict(zip(_IMAGE_KEYS, self._images[index], strict=True))

    def read_image(self, index: int) -> Image.Image:
        """The image at a position as RGB, unchanged.

        Raises:
            ImageReadError: it cannot be read; the text names file and image id.
        """
        info = self.get_img_info(index)
        path = os.path.join(self.root, info["file_name"])
        try:
            return read_image(path, expected_wh=(info["width"], info["height"]))
        except ImageReadError as error:
            raise ImageReadError(f"{error} (image id {info['id']} of {self.ann_file})") from error

    def get_target(self, index: int) -> BoxList:
        """The training targets of the image at a position, in px of the original image.

        K boxes xyxy inside the image, with the fields "labels" ((K,) int64, contiguous ids) and,
        if the data set has any, "masks" (SegmentationMask) and "keypoints" (PersonKeypoints); K may
        be 0. Masks are polygons unless one of the image is an RLE.
        """
        info = self.get_img_info(index)
        size_wh = (info["width"], info["height"])
        rows = self._table.rows(index)
        chosen = slice(rows.start, rows.stop)
        boxes = torch.from_numpy(self._table.boxes_xywh[chosen].astype("float32"))
        target = BoxList(boxes, size_wh, mode="xywh").convert("xyxy")
        target.add_field("labels", torch.from_numpy(self._table.labels[chosen].copy()))
        if self.has_masks:
            outlines = [self._table.outline(row) for row in rows]
            # An RLE may have holes, which polygons cannot say.
            has_rle = any(isinstance(outline, dict) for outline in outlines)
            masks = SegmentationMask(outlines, size_wh, mode="mask" if has_rle else "poly")
            target.add_field("masks", masks)
        if self.has_keypoints:
            keypoints = torch.from_numpy(self._table.keypoints[chosen].copy())
            target.add_field("keypoints", PersonKeypoints(keypoints, size_wh))
        return target.clip_to_image(remove_empty=True)

    def ground_truth(self) -> dict[str, Any]:
        """The content of the annotation file for this data set's images, read anew.

        In COCO's format, for evaluation: with crowds and tiny boxes, without damaged annotations;
        "iscrowd" and "area" are there for all. The caller may change it.
        """
        content = read_coco_json(self.ann_file).content
        chosen = set(self.image_ids)
        content["images"] = [image for image in content["images"] if image["id"] in chosen]
        annotations = [a for a in content["annotations"] if a["image_id"] in chosen]
        # pycocotools takes the id 0 for "not matched".
        if any(annotation["id"] < 1 for annotation in annotations):
            annotations = [{**a, "id": i} for i, a in enumerate(annotations, start=1)]
        content["annotations"] = annotations
        return content

    def _chosen_images(
        self, images: Sequence[Entry], image_ids: Collection[int] | None
    ) -> list[Entry]:
        """The images in ascending order of ids, those asked for."""
        ordered = sorted(images, key=lambda image: int(image["id"]))
        if image_ids is None:
            return ordered
        chosen = set(image_ids)
        unknown = chosen - {image["id"] for image in ordered}
        if unknown:
            raise DatasetError(
                f"{self.name}: image_ids {examples(sorted(unknown))} are not in {self.ann_file}"
            )
        if not chosen:
            raise DatasetError(f"{self.name}: image_ids is empty")
        return [image for image in ordered if image["id"] in chosen]

    def _with_targets(
        self, images: Sequence[Entry], targets: dict[int, list[Entry]]
    ) -> list[Entry]:
        # UPSTREAM(crowd-only-images): coco.py kept images that have nothing but crowds, to be
        # trained on as background. COCO 2017 has no such image.
        kept = [image for image in images if self._is_trained_on(targets[image["id"]])]
        if not kept:
            raise DatasetError(
                f"{self.name}: none of the {len(images)} images of {self.ann_file} has an "
                "annotation to train on"
            )
        if len(kept) < len(images):
            logger.info(
                "%s: %d of %d images have no annotation to train on and are left out",
                self.name,
                len(images) - len(kept),
                len(images),
            )
        return kept

    def _is_trained_on(self, targets: Sequence[Entry]) -> bool:
        if not self.has_keypoints:
            return len(targets) > 0
        num_keypoints: int = sum(entry["num_keypoints"] for entry in targets)
        return num_keypoints >= MIN_KEYPOINTS_PER_IMAGE


def _training_targets(
    checked: CocoContent, images: Sequence[Entry]
) -> tuple[dict[int, list[Entry]], Skipped]:
    """The annotations to train on of each image, in the order of the file, and those left out."""
    sizes_hw = {image["id"]: (image["height"], image["width"]) for image in images}
    targets: dict[int, list[Entry]] = defaultdict(list)
    skipped = Skipped()
    for annotation in checked.content["annotations"]:
        size_hw = sizes_hw.get(annotation["image_id"])
        if size_hw is None:
            continue
        if annotation["iscrowd"]:
            skipped.add("of crowds", annotation["id"])
        elif has_trainable_box(annotation, *size_hw):
            targets[annotation["image_id"]].append(annotation)
        else:
            skipped.add("with an empty box or one outside of the image", annotation["id"])
    return targets, skipped
