"""What a model finds on a photo, with the names of its classes, and as other programs take it.

Shapes: K objects; H, W height and width of the photo.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from centermask_runtime.detections import BoolArray, describe_objects, iterate_objects
from centermask_runtime.detections import DetectedObject as DetectedObject
from centermask_runtime.masks import RLE
from maskrcnn_benchmark.config.errors import MissingPackageError
from maskrcnn_benchmark.data.image_io import Photo, as_image
from maskrcnn_benchmark.evaluation.coco_format import box_results, keypoint_results, mask_results
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.visualization.draw import draw_instances, select_by_score

if TYPE_CHECKING:
    from PIL import Image

    from maskrcnn_benchmark.structures.bounding_box import BoxMode


class Detections(BoxList):
    """What was found on a photo: boxes in px of it, whose fields are what the model gives.

    Iterating gives every object in turn; an index or a bool per object selects, as in ``BoxList``.

    Args:
        boxes: K boxes with ``labels`` and ``scores``; ``mask``, ``mask_scores`` and ``keypoints``
            where the model has them.
        class_names: label to name; a label without one is called by its number.
        class_ids: label to the class's id in annotations; a label without one is its own.
    """

    def __init__(
        self, boxes: BoxList, class_names: Mapping[int, str], class_ids: Mapping[int, int]
    ) -> None:
        super().__init__(boxes.bbox, boxes.size, boxes.mode, pixel_offset=boxes.pixel_offset)
        self.class_names = class_names
        self.class_ids = class_ids
        for name in boxes.fields():
            is_mask = name == "mask"
            self.add_field(name, boxes.predicted_masks if is_mask else boxes.get_field(name))

    def _like(
        self,
        bbox: Tensor,
        fields: Mapping[str, Any],
        *,
        mode: BoxMode | None = None,
        size: tuple[int, int] | None = None,
    ) -> Detections:
        boxes = super()._like(bbox, fields, mode=mode, size=size)
        return Detections(boxes, self.class_names, self.class_ids)

    def __repr__(self) -> str:
        return describe_objects(self.names, self.size)

    def __iter__(self) -> Iterator[DetectedObject]:
        return iterate_objects(
            labels=self.labels.tolist(),
            scores=self.scores.tolist(),
            boxes=self.boxes.tolist(),
            parts=self.predicted_masks.crops() if self.has_masks else [None] * len(self),
            size=self.size,
            class_names=self.class_names,
            class_ids=self.class_ids,
        )

    @property
    def names(self) -> list[str]:
        """The name of each object's class."""
        return [self.class_names.get(label, str(label)) for label in self.labels.tolist()]

    @property
    def boxes(self) -> Tensor:
        """(K, 4) x1, y1, x2, y2 in px of the photo; ``pixel_offset`` says what corners are."""
        return self.convert("xyxy").bbox

    @property
    def has_masks(self) -> bool:
        """Whether the model gives masks."""
        return self.has_field("mask")

    @property
    def masks(self) -> BoolArray | None:
        """(K, H, W) bool, the pixels of each object; None of a model without masks."""
        if not self.has_field("mask"):
            return None
        return self.predicted_masks.planes().numpy().astype(np.bool_)

    def encode(self) -> list[RLE]:
        """The masks as COCO run lengths of the photo; none of a model without masks."""
        return self.predicted_masks.encode() if self.has_masks else []

    def above(self, score_threshold: float) -> Detections:
        """The objects that score at least this, 0 to 1, best first."""
        boxes = select_by_score(self, score_threshold)
        return Detections(boxes, self.class_names, self.class_ids)

    def draw(self, photo: Photo, font: str | None = None) -> Image.Image:
        """A copy of the photo with the objects drawn on it, as ``draw_instances`` does."""
        return draw_instances(as_image(photo), self, self.class_names, font=font)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """One COCO result an object, with ``category_name``; masks are compressed RLEs.

        ``score`` is the score of the mask where the model gives one.
        """
        ids = {label: self.class_ids.get(label, label) for label in self.labels.tolist()}
        kinds = [box_results]
        if self.has_field("mask"):
            kinds.append(mask_results)
        if self.has_field("keypoints"):
            kinds.append(keypoint_results)
        found = [kind(image_id, self, ids) for kind in kinds]
        results = []
        for name, *entries in zip(self.names, *found, strict=True):
            result = {"category_name": name}
            for entry in entries:
                result |= entry
            results.append(result)
        return results

    def to_torchvision(self) -> dict[str, Tensor]:
        """As torchvision's detectors give it.

        ``boxes`` (K, 4) x1, y1, x2, y2, px, where x2 - x1 is the width; ``labels`` (K,) from 1;
        ``scores`` (K,); ``masks`` (K, 1, H, W) uint8 of 0 and 1, of a model that has them.
        """
        content = {"boxes": self._edges(), "labels": self.labels, "scores": self.scores}
        if self.has_field("mask"):
            content["masks"] = self.predicted_masks.planes()[:, None]
        return content

    def to_supervision(self) -> Any:  # noqa: ANN401 - a class of a package that may be absent
        """As ``supervision.Detections``: ``class_id`` is the label, ``class_name`` in ``data``.

        Raises:
            MissingPackageError: the package supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ImportError as error:
            raise MissingPackageError("supervision", "supervision") from error
        return supervision.Detections(
            xyxy=self._edges().numpy(),
            mask=self.masks,
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": np.array(self.names, dtype=np.str_)},
        )

    def _edges(self) -> Tensor:
        """(K, 4) left, upper, right and lower edges: a box of one pixel is 1 wide."""
        boxes_xywh = self.convert("xywh").bbox
        corner, sides = boxes_xywh[:, :2], boxes_xywh[:, 2:]
        return torch.cat([corner, corner + sides], dim=1)
