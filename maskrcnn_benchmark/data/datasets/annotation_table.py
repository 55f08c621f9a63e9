"""The annotations of a whole data set in a few arrays.

A data set with a million annotations as Python objects takes gigabytes, once more in each worker
process (counting references copies shared pages). Arrays take a tenth and stay shared.

Shapes: I images, A annotations, P polygons, X numbers of all polygons together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_benchmark.data.datasets.keypoints import num_labelled
from maskrcnn_benchmark.data.datasets.outlines import Outline
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET


@dataclass(frozen=True, slots=True)
class AnnotationTable:
    """Boxes, labels and outlines of all images, annotation by annotation, exactly as they came.

    Attributes:
        first_row: (I + 1,) int64; the rows of image i are ``first_row[i]:first_row[i + 1]``.
        ids: (A,) int64.
        boxes_xywh: (A, 4) float64 px of the image.
        labels: (A,) int64 contiguous category ids, from 1.
        areas: (A,) float64 px^2.
        is_crowd: (A,) bool.
        is_target: (A,) bool; neither a crowd nor without a box in the image.
        first_polygon: (A + 1,) int64; polygons of a row, none where it has an RLE.
        first_number: (P + 1,) int64; numbers of a polygon.
        numbers: (X,) float64 px, x and y in turn.
        rles: compressed RLE of the rows that have one.
        keypoints: (A, V) float64 x and y (px) and visibility of each point in turn; V is 0 without
            any.
    """

    first_row: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    is_target: NDArray[np.bool_]
    first_polygon: NDArray[np.int64]
    first_number: NDArray[np.int64]
    numbers: NDArray[np.float64]
    rles: Mapping[int, dict[str, Any]]
    keypoints: NDArray[np.float64]

    @classmethod
    def from_annotations(
        cls,
        per_image: Sequence[Sequence[Mapping[str, Any]]],
        sizes_hw: Sequence[tuple[int, int]],
        labels_of: Mapping[int, int],
        *,
        has_keypoints: bool = False,
    ) -> AnnotationTable:
        """The table of annotations, given image by image.

        Args:
            per_image: for each image its annotations, as in ``CocoContent``.
            sizes_hw: of each image, px.
            labels_of: contiguous id of each category id.
            has_keypoints: whether the annotations have keypoints to keep.
        """
        rows = list(chain.from_iterable(per_image))
        outlines: list[Outline] = [row.get("segmentation") or [] for row in rows]
        polygons = [[] if isinstance(outline, dict) else outline for outline in outlines]
        flat = list(chain.from_iterable(polygons))
        boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
        lengths = [len(annotations) for annotations in per_image]
        sizes = np.repeat(np.array(sizes_hw, dtype=np.int64).reshape(-1, 2), lengths, axis=0)
        is_crowd = np.array([row["iscrowd"] for row in rows], dtype=np.bool_)
        points = [row["keypoints"] if has_keypoints else () for row in rows]
        return cls(
            first_row=_starts(lengths),
            ids=np.array([row["id"] for row in rows], dtype=np.int64),
            boxes_xywh=boxes,
            labels=np.array([labels_of[row["category_id"]] for row in rows], dtype=np.int64),
            areas=np.array([row["area"] for row in rows], dtype=np.float64),
            is_crowd=is_crowd,
            is_target=~is_crowd & trainable_boxes(boxes, sizes),
            first_polygon=_starts(len(group) for group in polygons),
            first_number=_starts(len(polygon) for polygon in flat),
            numbers=np.fromiter(chain.from_iterable(flat), dtype=np.float64),
            rles={row: out for row, out in enumerate(outlines) if isinstance(out, dict)},
            keypoints=np.array(points, dtype=np.float64),
        )

    def rows(self, image_index: int) -> range:
        """The rows of an image by its place in ``per_image``."""
        return range(int(self.first_row[image_index]), int(self.first_row[image_index + 1]))

    def targets(self, image_index: int) -> list[int]:
        """The rows of an image that are trained on, by its place in ``per_image``."""
        rows = self.rows(image_index)
        return (rows.start + np.flatnonzero(self.is_target[rows.start : rows.stop])).tolist()

    def outline(self, row: int) -> list[NDArray[np.float64]] | dict[str, Any]:
        """The polygons of a row, each flat (views, not copies), or its RLE."""
        if row in self.rles:
            return self.rles[row]
        polygons = range(self.first_polygon[row], self.first_polygon[row + 1])
        return [self.numbers[self.first_number[p] : self.first_number[p + 1]] for p in polygons]

    def annotation(self, row: int) -> dict[str, Any]:
        """A new COCO entry of a row, without its image and category."""
        outline = self.outline(row)
        entry: dict[str, Any] = {
            "id": int(self.ids[row]),
            "bbox": self.boxes_xywh[row].tolist(),
            "area": float(self.areas[row]),
            "iscrowd": int(self.is_crowd[row]),
        }
        if isinstance(outline, dict):
            entry["segmentation"] = dict(outline)
        elif outline:
            entry["segmentation"] = [polygon.tolist() for polygon in outline]
        if self.keypoints.shape[-1]:
            entry["keypoints"] = keypoints = self.keypoints[row].tolist()
            entry["num_keypoints"] = num_labelled(keypoints)
        return entry


def trainable_boxes(
    boxes_xywh: NDArray[np.float64], sizes_hw: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(A,) bool: whether something of each box is left after it is clipped to its image.

    Under the inclusive pixel convention a box has to be wider and higher than 1 px, as in
    ``BoxList.clip_to_image(remove_empty=True)``.

    Args:
        boxes_xywh: (A, 4) px.
        sizes_hw: (A, 2) px, of the image of each.
    """
    last = sizes_hw[:, ::-1] - LEGACY_PIXEL_OFFSET
    start, length = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    clipped_start = np.clip(start, 0, last)
    clipped_end = np.clip(start + length - LEGACY_PIXEL_OFFSET, 0, last)
    is_longer = clipped_end > clipped_start
    return is_longer[:, 0] & is_longer[:, 1]


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    """Where each of some consecutive stretches starts, and where the last one ends."""
    return np.cumsum(np.fromiter(chain([0], lengths), dtype=np.int64))
