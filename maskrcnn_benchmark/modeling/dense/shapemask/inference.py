"""From the predictions of ShapeMask's detector to boxes.

Shapes: N images, L anchors over all levels, C classes with background, K candidates,
D detections.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import ml_nms
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.selection import SelectionSettings
from maskrcnn_benchmark.modeling.dense.shapemask.anchors import decode_boxes
from maskrcnn_benchmark.modeling.dense.shapemask.head import ShapeMaskOutputs
from maskrcnn_benchmark.structures.bounding_box import BoxList


class ShapeMaskSelection:
    """The best labelled boxes of every image.

    Args:
        settings: thresholds; ``pre_nms_top_n`` is for each class, over all levels.
        num_classes: C.
        stride: px per cell of the finest map.
    """

    def __init__(self, *, settings: SelectionSettings, num_classes: int, stride: int) -> None:
        self.settings = settings
        self.num_classes = num_classes
        self.stride = stride

    @torch.no_grad()
    def __call__(
        self,
        outputs: ShapeMaskOutputs,
        points: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """One BoxList an image with ``labels`` and ``scores``, best first; corners are edges.

        Of equal scores those of the lower class come first, then those of the lower anchor. Boxes
        are clipped to the canvas alone.

        Args:
            outputs: predictions of the head.
            points: per level (Li, 4) anchors.
            image_sizes: (height, width) of the images on the canvas.
        """
        anchors = torch.cat(list(points))
        logits = flatten_levels(outputs.logits, self.num_classes)
        codes = flatten_levels(outputs.codes, 4)
        height, width = (self.stride * cells for cells in outputs.logits[0].shape[-2:])
        found = []
        for of_image, code, (image_height, image_width) in zip(
            logits, codes, image_sizes, strict=True
        ):
            boxes = partial(_decode, code, anchors, (height, width))
            chosen = choose(of_image[:, 1:].T.sigmoid(), boxes, self.settings)
            result = BoxList(chosen.boxes, (image_width, image_height), pixel_offset=0)
            result.add_field("labels", chosen.labels)
            result.add_field("scores", chosen.scores)
            found.append(result)
        return found


def _decode(codes: Tensor, anchors: Tensor, canvas_hw: tuple[int, int], inds: Tensor) -> Tensor:
    return decode_boxes(codes[inds], anchors[inds], canvas_hw)


class Chosen(NamedTuple):
    """The detections of an image, best first.

    Attributes:
        boxes: (D, 4) xyxy.
        labels: (D,) from 1.
        scores: (D,) probability of the class.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor


def choose(
    probs: Tensor, boxes_of: Callable[[Tensor], Tensor], settings: SelectionSettings
) -> Chosen:
    """The detections of one image: NMS of each class, then the best of all.

    Args:
        probs: (C - 1, L).
        boxes_of: anchors (K,) -> their boxes (K, 4); all classes share them.
        settings: thresholds.
    """
    classes, inds = best_of_classes(probs, settings)
    boxes, scores = boxes_of(inds), probs[classes, inds]
    # UPSTREAM(ordered-corners): the authors' suppression, TensorFlow's, puts corners in order that
    # decoding has swapped, of boxes of less than a px; the boxes themselves stay as they are.
    first, last = boxes[:, :2], boxes[:, 2:]
    ordered = torch.cat([first.minimum(last), first.maximum(last)], dim=1)
    kept = ml_nms(ordered, scores, classes, settings.nms_threshold, pixel_offset=0)
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    kept = kept[: settings.post_nms_top_n or len(kept)]
    return Chosen(boxes[kept], classes[kept] + 1, scores[kept])


def best_of_classes(probs: Tensor, settings: SelectionSettings) -> tuple[Tensor, Tensor]:
    """Classes from 0 and anchors of the candidates (K,), by class, then by anchor.

    Args:
        probs: (C - 1, L).
        settings: thresholds.
    """
    classes, inds = (probs > settings.score_threshold).nonzero(as_tuple=True)
    counts = classes.bincount(minlength=len(probs))
    (crowded,) = (counts > settings.pre_nms_top_n).nonzero(as_tuple=True)
    is_kept = torch.ones_like(classes, dtype=torch.bool)
    for label in crowded.tolist():
        (own,) = (classes == label).nonzero(as_tuple=True)
        order = probs[label, inds[own]].argsort(descending=True, stable=True)
        is_kept[own[order[settings.pre_nms_top_n :]]] = False
    return classes[is_kept], inds[is_kept]
