"""What a model finds on a photo, with the names of its classes, and as COCO results.

Shapes: K objects, M side of a mask; H, W height and width of the photo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from centermask_runtime.image_io import Photo, as_image
from centermask_runtime.masks import (
    LEGACY_PASTE,
    RLE,
    ArrayPasteRule,
    FloatArray,
    PastedMask,
    SizeWH,
)
from centermask_runtime.pixel import LEGACY_PIXEL_OFFSET

BoolArray: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


@dataclass(frozen=True, slots=True)
class DetectedObject:
    """One object on a photo.

    Attributes:
        name: of its class.
        label: of its class, from 1.
        category_id: of its class in the annotations that the model was trained on.
        score: 0 to 1.
        box: x1, y1, x2, y2 in px of the photo; corners are pixels, or edges where the model's
            MODEL.CONVENTION has it so (``BoxList.pixel_offset``).
        size: (width, height) of the photo in px.
        part: the part of the photo that holds the mask; None of a model without masks.
    """

    name: str
    label: int
    category_id: int
    score: float
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    part: PastedMask | None = field(default=None, repr=False)

    @property
    def mask(self) -> BoolArray | None:
        """(H, W) bool, the object's pixels; None of a model without masks."""
        if self.part is None:
            return None
        x0, y0, pixels = self.part
        mask = np.zeros(self.size[::-1], dtype=np.bool_)
        mask[y0 : y0 + pixels.shape[0], x0 : x0 + pixels.shape[1]] = pixels
        return mask


def iterate_objects(
    *,
    labels: Sequence[int],
    scores: Sequence[float],
    boxes: Sequence[Sequence[float]],
    parts: Iterable[PastedMask | None],
    size: SizeWH,
    class_names: Mapping[int, str],
    class_ids: Mapping[int, int],
) -> Iterator[DetectedObject]:
    """Every object in turn; the arguments are those of ``Detections``, and its ``parts()``."""
    for label, score, (x1, y1, x2, y2), part in zip(labels, scores, boxes, parts, strict=True):
        yield DetectedObject(
            name=class_names.get(label, str(label)),
            label=label,
            category_id=class_ids.get(label, label),
            score=score,
            box=(x1, y1, x2, y2),
            size=size,
            part=part,
        )


def describe_objects(names: Iterable[str], size: SizeWH) -> str:
    """How many objects of which class there are on a photo, for ``repr``."""
    told = ", ".join(f"{count} {name}" for name, count in Counter(names).items())
    width, height = size
    return f"Detections({told or 'nothing'} on {width} x {height} px)"


@dataclass(frozen=True, eq=False, kw_only=True)
class Detections:
    """What was found on a photo: arrays with one entry an object; iterating gives every object.

    Attributes:
        boxes: (K, 4) float32 x1, y1, x2, y2 in px of the photo; see ``pixel_offset``.
        labels: (K,) int64, from 1.
        scores: (K,) float32, 0 to 1.
        size: (width, height) of the photo.
        mask_scores: (K,) float32: scores of the masks, where the model gives them.
        mask_probabilities: (K, M, M) float32 of each object, inside its box; None of a model
            without masks.
        class_names: label to name; a label without one is called by its number.
        class_ids: label to the class's id in annotations; a label without one is its own.
        pixel_offset: what a box adds to x2 - x1 to get its width: 1, corners are pixels; 0, edges.
        paste_rule: how a mask inside its box becomes pixels.
        keypoints: (K, P, 2) float32 x, y of each object's points; None of a model without.
        keypoint_scores: (K, P) float32 logits of them.
        keypoint_offset: 1: coordinates of keypoints count pixels; 0: the middle of pixel i lies at
            i + 0.5.
    """

    boxes: FloatArray
    labels: NDArray[np.int64]
    scores: FloatArray
    size: SizeWH
    mask_scores: FloatArray | None = None
    mask_probabilities: FloatArray | None = None
    class_names: Mapping[int, str] = field(default_factory=dict)
    class_ids: Mapping[int, int] = field(default_factory=dict)
    pixel_offset: int = LEGACY_PIXEL_OFFSET
    paste_rule: ArrayPasteRule = LEGACY_PASTE
    keypoints: FloatArray | None = None
    keypoint_scores: FloatArray | None = None
    keypoint_offset: int = LEGACY_PIXEL_OFFSET

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return describe_objects(self.names, self.size)

    def __iter__(self) -> Iterator[DetectedObject]:
        return iterate_objects(
            labels=self.labels.tolist(),
            scores=self.scores.tolist(),
            boxes=self.boxes.tolist(),
            parts=self.parts(),
            size=self.size,
            class_names=self.class_names,
            class_ids=self.class_ids,
        )

    @property
    def names(self) -> list[str]:
        """The name of each object's class."""
        return [self.class_names.get(label, str(label)) for label in self.labels.tolist()]

    @property
    def has_masks(self) -> bool:
        """Whether the model gives masks."""
        return self.mask_probabilities is not None

    @property
    def masks(self) -> BoolArray | None:
        """(K, H, W) bool, the pixels of each object; None of a model without masks."""
        if not self.has_masks:
            return None
        masks = np.zeros((len(self), *self.size[::-1]), dtype=np.bool_)
        for mask, found in zip(masks, self, strict=True):
            mask[:] = found.mask
        return masks

    def parts(self) -> Iterator[PastedMask | None]:
        """The part of the photo that holds each mask in turn; None of a model without masks."""
        if self.mask_probabilities is None:
            yield from [None] * len(self)
        else:
            yield from self.paste_rule.paste(self.mask_probabilities, self.boxes, self.size)

    def encode(self) -> list[RLE]:
        """The masks as COCO run lengths of the photo; none of a model without masks."""
        if self.mask_probabilities is None:
            return []
        return self.paste_rule.encode(self.mask_probabilities, self.boxes, self.size)

    def select(self, index: NDArray[Any]) -> Detections:
        """The objects at these places, or those for which a bool array has True."""

        def chosen(values: Any) -> Any:  # noqa: ANN401 - an array or None
            return None if values is None else values[index]

        return replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            scores=self.scores[index],
            mask_scores=chosen(self.mask_scores),
            mask_probabilities=chosen(self.mask_probabilities),
            keypoints=chosen(self.keypoints),
            keypoint_scores=chosen(self.keypoint_scores),
        )

    def above(self, score_threshold: float) -> Detections:
        """The objects that score at least this, 0 to 1, best first."""
        order = np.argsort(-self.scores, kind="stable")
        return self.select(order[self.scores[order] >= score_threshold])

    def resize(self, size: SizeWH) -> Detections:
        """What was found, in px of the photo resized to ``size`` (width, height)."""
        ratios = [new / old for new, old in zip(size, self.size, strict=True)]
        boxes = self.boxes * np.array(ratios * 2, dtype=np.float32)
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints * np.array(ratios, dtype=np.float32)
        return replace(self, boxes=boxes, keypoints=keypoints, size=size)

    def pixel_boxes(self) -> FloatArray:
        """(K, 4) first and last pixels of the boxes, whatever their corners are."""
        corners = self.boxes.copy()
        corners[:, 2:] += self.pixel_offset - LEGACY_PIXEL_OFFSET
        return corners

    def pixel_keypoints(self) -> FloatArray:
        """(K, P, 2) keypoints that count pixels, as COCO's do; P is 0 of a model without."""
        if self.keypoints is None:
            return np.zeros((len(self), 0, 2), dtype=np.float32)
        moved: FloatArray = self.keypoints + np.float32(
            (self.keypoint_offset - LEGACY_PIXEL_OFFSET) / 2
        )
        return moved

    def draw(self, photo: Photo, font: str | None = None) -> Image.Image:
        """A copy of the photo with the objects drawn on it, and a ``font`` file for names."""
        from centermask_runtime.drawing import draw_detections

        return draw_detections(as_image(photo), self, font)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """One COCO result an object, with ``category_name``; masks are compressed RLEs.

        ``score`` is the score of the mask where the model gives one.
        """
        sides = self.boxes[:, 2:] - self.boxes[:, :2] + np.float32(self.pixel_offset)
        boxes_xywh = np.concatenate([self.boxes[:, :2], sides], axis=1).tolist()
        scores = self.scores if self.mask_scores is None else self.mask_scores
        if not self.has_masks or self.keypoints is not None:
            scores = self.scores
        entries: dict[str, list[Any]] = {"bbox": boxes_xywh, "score": scores.tolist()}
        if self.has_masks:
            entries["segmentation"] = self.encode()
        if self.keypoints is not None:
            points = self.pixel_keypoints()
            # As in COCO's annotations: all that are found are visible, or might be.
            seen = np.concatenate([points, np.ones_like(points[..., :1])], axis=2)
            entries["keypoints"] = seen.reshape(len(self), -1).tolist()
        values = zip(*entries.values(), strict=True)
        return [
            {
                "category_name": name,
                "image_id": image_id,
                "category_id": self.class_ids.get(label, label),
                **dict(zip(entries, of_object, strict=True)),
            }
            for name, label, of_object in zip(self.names, self.labels.tolist(), values, strict=True)
        ]
