"""The images and annotations of a whole data set in a few arrays.

A data set with a million annotations as Python objects takes gigabytes, once more in each worker
process (counting references copies shared pages). Arrays take a tenth and stay shared.

Shapes: I images, A annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskrcnn_benchmark.data.datasets.keypoints import num_labelled
from maskrcnn_benchmark.data.datasets.outlines import Outline
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET


@dataclass(frozen=True, slots=True)
class ImageTable:
    """What is known of images without reading them, in ascending order of their ids.

    Attributes:
        ids: (I,) int64.
        sizes_hw: (I, 2) int64 px.
        names: the names of their files in UTF-8, one after the other.
        first_letter: (I + 1,) int64; where each name starts in ``names``.
    """

    ids: NDArray[np.int64]
    sizes_hw: NDArray[np.int64]
    names: bytes
    first_letter: NDArray[np.int64]

    @classmethod
    def from_columns(
        cls, ids: ArrayLike, sizes_hw: ArrayLike, file_names: Sequence[str]
    ) -> ImageTable:
        """The table of I images in any order."""
        ids = np.array(ids, dtype=np.int64)
        order = ids.argsort()
        # File names that JSON escaped may hold halves of pairs, which UTF-8 has no place for.
        names = [file_names[i].encode("utf-8", "surrogatepass") for i in order.tolist()]
        sizes = np.array(sizes_hw, dtype=np.int64).reshape(-1, 2)
        return cls(ids[order], sizes[order], b"".join(names), starts(map(len, names)))

    def places(self, image_ids: ArrayLike) -> NDArray[np.int64]:
        """The place in this table of each image id, -1 of an unknown one."""
        wanted = np.asarray(image_ids, dtype=np.int64)
        found = np.searchsorted(self.ids, wanted).clip(max=len(self.ids) - 1)
        return np.where(self.ids[found] == wanted, found, -1)

    def info(self, place: int) -> dict[str, Any]:
        """The "id", "file_name", "height" and "width" of an image by its place."""
        name = self.names[self.first_letter[place] : self.first_letter[place + 1]]
        height, width = self.sizes_hw[place].tolist()
        return {
            "id": int(self.ids[place]),
            "file_name": name.decode("utf-8", "surrogatepass"),
            "height": height,
            "width": width,
        }


@dataclass(frozen=True, slots=True)
class AnnotationTable:
    """Boxes, labels and outlines of annotations in the order of the file, exactly as they came.

    Attributes:
        image_places: (A,) int64 place of the image of each in the ``ImageTable``, -1 of those that
            are left out.
        first_row: (I + 1,) int64; ``rows_by_image[first_row[i]:first_row[i + 1]]`` are of image i.
        rows_by_image: rows image by image, without those that are left out.
        ids: (A,) int64.
        boxes_xywh: (A, 4) float64 px of the image.
        labels: (A,) int64 contiguous category ids, from 1.
        areas: (A,) float64 px^2.
        is_crowd: (A,) bool.
        is_target: (A,) bool; neither left out nor a crowd nor without a box in the image.
        outlines: the outlines as JSON, one after the other: a text takes less than its numbers do.
        first_letter: (A + 1,) int64; where each outline starts in ``outlines``.
        keypoints: (A, V) float64 x and y (px) and visibility of each point in turn; V is 0 without
            any.
    """

    image_places: NDArray[np.int64]
    first_row: NDArray[np.int64]
    rows_by_image: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    is_target: NDArray[np.bool_]
    outlines: bytearray
    first_letter: NDArray[np.int64]
    keypoints: NDArray[np.float64]

    def rows(self, image_place: int) -> NDArray[np.int64]:
        """The rows of an image by its place in the ``ImageTable``."""
        return self.rows_by_image[self.first_row[image_place] : self.first_row[image_place + 1]]

    def with_pixel_offset(self, images: ImageTable, pixel_offset: int) -> AnnotationTable:
        """The table with the targets that there are by another ``pixel_offset``."""
        if pixel_offset == LEGACY_PIXEL_OFFSET:
            return self
        sizes_hw = images.sizes_hw[self.image_places]
        is_sound = trainable_boxes(self.boxes_xywh, sizes_hw, pixel_offset)
        is_target = is_sound & ~self.is_crowd & (self.image_places >= 0)
        return replace(self, is_target=is_target)

    def targets(self, image_place: int) -> NDArray[np.int64]:
        """The rows of an image that are trained on, by its place in the ``ImageTable``."""
        rows = self.rows(image_place)
        return rows[self.is_target[rows]]

    def outline(self, row: int) -> Outline:
        """The polygons of a row, each flat, or its compressed RLE; an empty list without any."""
        text = self.outlines[self.first_letter[row] : self.first_letter[row + 1]]
        outline: Outline = msgspec.json.decode(text) if text else []
        return outline

    def with_labels(self, new_labels: NDArray[np.int64]) -> AnnotationTable:
        """The same annotations with other labels, without those that get none.

        Args:
            new_labels: by the present label; 0 is none.
        """
        labels = new_labels[self.labels]
        is_left = labels > 0
        places = np.where(is_left, self.image_places, -1)
        by_image = self.rows_by_image[is_left[self.rows_by_image]]
        return replace(
            self,
            image_places=places,
            first_row=np.searchsorted(places[by_image], np.arange(len(self.first_row))),
            rows_by_image=by_image,
            labels=labels,
            is_target=self.is_target & is_left,
        )

    def annotation(self, row: int) -> dict[str, Any]:
        """A new COCO entry of a row, without its image and category."""
        outline = self.outline(row)
        entry: dict[str, Any] = {
            "id": int(self.ids[row]),
            "bbox": self.boxes_xywh[row].tolist(),
            "area": float(self.areas[row]),
            "iscrowd": int(self.is_crowd[row]),
        }
        if outline:
            entry["segmentation"] = outline
        if self.keypoints.shape[-1]:
            entry["keypoints"] = keypoints = self.keypoints[row].tolist()
            entry["num_keypoints"] = num_labelled(keypoints)
        return entry


def trainable_boxes(
    boxes_xywh: NDArray[np.float64],
    sizes_hw: NDArray[np.int64],
    pixel_offset: int = LEGACY_PIXEL_OFFSET,
) -> NDArray[np.bool_]:
    """(A,) bool: whether something of each box is left after it is clipped to its image.

    Under the inclusive pixel convention a box has to be wider and higher than 1 px, as in
    ``BoxList.clip_to_image(remove_empty=True)``.

    Args:
        boxes_xywh: (A, 4) px.
        sizes_hw: (A, 2) px, of the image of each.
        pixel_offset: see ``BoxList``.
    """
    last = sizes_hw[:, ::-1] - pixel_offset
    start, length = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    clipped_start = np.clip(start, 0, last)
    clipped_end = np.clip(start + length - pixel_offset, 0, last)
    is_longer = clipped_end > clipped_start
    return is_longer[:, 0] & is_longer[:, 1]


def starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    """Where each of some consecutive stretches starts, and where the last one ends."""
    return np.cumsum(np.fromiter(chain([0], lengths), dtype=np.int64))
