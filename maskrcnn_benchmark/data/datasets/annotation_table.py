"""The training targets of a whole data set in a few arrays.

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

from maskrcnn_benchmark.data.datasets.outlines import Outline
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET


@dataclass(frozen=True, slots=True)
class AnnotationTable:
    """Boxes, labels and outlines of all images, annotation by annotation.

    Attributes:
        first_row: (I + 1,) int64; the rows of image i are ``first_row[i]:first_row[i + 1]``.
        boxes_xywh: (A, 4) float64 px of the image.
        labels: (A,) int64 contiguous category ids, from 1.
        first_polygon: (A + 1,) int64; polygons of a row, none where it has an RLE.
        first_number: (P + 1,) int64; numbers of a polygon.
        numbers: (X,) float32 px, x and y in turn.
        rles: compressed RLE of the rows that have one.
        keypoints: (A, V) float32 x and y (px) and visibility of each point in turn; V is 0 without
            any.
    """

    first_row: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    labels: NDArray[np.int64]
    first_polygon: NDArray[np.int64]
    first_number: NDArray[np.int64]
    numbers: NDArray[np.float32]
    rles: Mapping[int, dict[str, Any]]
    keypoints: NDArray[np.float32]

    @classmethod
    def from_annotations(
        cls, per_image: Sequence[Sequence[Mapping[str, Any]]], labels_of: Mapping[int, int]
    ) -> AnnotationTable:
        """The table of annotations, given image by image.

        Args:
            per_image: annotations with "bbox", "category_id" and, if they have one, a checked
                "segmentation"; all or none with checked "keypoints".
            labels_of: contiguous id of each category id.
        """
        rows = list(chain.from_iterable(per_image))
        outlines: list[Outline] = [row.get("segmentation") or [] for row in rows]
        polygons = [[] if isinstance(outline, dict) else outline for outline in outlines]
        flat = list(chain.from_iterable(polygons))
        return cls(
            first_row=_starts(len(annotations) for annotations in per_image),
            boxes_xywh=np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
            labels=np.array([labels_of[row["category_id"]] for row in rows], dtype=np.int64),
            first_polygon=_starts(len(group) for group in polygons),
            first_number=_starts(len(polygon) for polygon in flat),
            numbers=np.fromiter(chain.from_iterable(flat), dtype=np.float32),
            rles={row: out for row, out in enumerate(outlines) if isinstance(out, dict)},
            keypoints=np.array([row.get("keypoints", ()) for row in rows], dtype=np.float32),
        )

    def rows(self, image_index: int) -> range:
        """The rows of an image.

        Args:
            image_index: its place in ``per_image``.
        """
        return range(int(self.first_row[image_index]), int(self.first_row[image_index + 1]))

    def outline(self, row: int) -> list[NDArray[np.float32]] | dict[str, Any]:
        """The polygons of a row, each flat (views, not copies), or its RLE."""
        if row in self.rles:
            return self.rles[row]
        polygons = range(self.first_polygon[row], self.first_polygon[row + 1])
        return [self.numbers[self.first_number[p] : self.first_number[p + 1]] for p in polygons]


def has_trainable_box(annotation: Mapping[str, Any], height: int, width: int) -> bool:
    """Whether something of the box is left after it is clipped to the image.

    Under the inclusive pixel convention a box has to be wider and higher than 1 px, as in
    ``BoxList.clip_to_image(remove_empty=True)``.

    Args:
        annotation: with "bbox", x, y, width, height in px.
        height: px of the image.
        width: px of the image.
    """
    left, top, box_width, box_height = annotation["bbox"]
    right, bottom = left + box_width, top + box_height
    spans = (
        (left, right - LEGACY_PIXEL_OFFSET, width),
        (top, bottom - LEGACY_PIXEL_OFFSET, height),
    )
    return all(
        min(max(end, 0), length - LEGACY_PIXEL_OFFSET)
        > min(max(start, 0), length - LEGACY_PIXEL_OFFSET)
        for start, end, length in spans
    )


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    """Where each of some consecutive stretches starts, and where the last one ends."""
    return np.cumsum(np.fromiter(chain([0], lengths), dtype=np.int64))
