"""What ShapeMask's detector learns (arXiv 1708.02002, sections 3 and 4).

Shapes: N images, L anchors over all levels, G objects of an image, C classes with background,
P positives of an image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import sigmoid_focal_loss
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.overlaps import pairwise_iou
from maskrcnn_benchmark.modeling.dense.shapemask.anchors import encode_boxes
from maskrcnn_benchmark.modeling.dense.shapemask.head import ShapeMaskOutputs
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList


class Positives(NamedTuple):
    """The anchors of an image that learn an object.

    Attributes:
        anchors: (P,) their places, ascending.
        objects: (P,) what each learns.
    """

    anchors: Tensor
    objects: Tensor


@torch.no_grad()
def match_anchors(anchors: Tensor, boxes: Tensor, positive_iou: float) -> Positives:
    """Who learns what: the best object from ``positive_iou`` on; every object has its best anchor.

    Args:
        anchors: (L, 4) xyxy.
        boxes: (G, 4) xyxy.
        positive_iou: no anchor is ignored: below it they are background.
    """
    if len(boxes) == 0 or len(anchors) == 0:
        nothing = torch.zeros(0, dtype=torch.int64, device=anchors.device)
        return Positives(nothing, nothing)
    # Two without area share nothing.
    ious = pairwise_iou(anchors, boxes).nan_to_num_(0)
    best, objects = ious.max(dim=1)
    is_positive = best >= positive_iou
    # UPSTREAM(forced-anchors): an object that overlaps nothing takes the first anchor. Of objects
    # with the same best anchor the first one has it, which is why they go backwards here.
    for index, anchor in reversed(list(enumerate(ious.argmax(dim=0).tolist()))):
        is_positive[anchor] = True
        objects[anchor] = index
    (inds,) = is_positive.nonzero(as_tuple=True)
    return Positives(inds, objects[inds])


class ShapeMaskLoss:
    """The losses of a batch's boxes and classes.

    Args:
        settings: weights and limits.
        num_classes: C.
    """

    def __init__(self, *, settings: ShapeMaskSettings, num_classes: int) -> None:
        self.settings = settings
        self.num_classes = num_classes

    def __call__(
        self, outputs: ShapeMaskOutputs, points: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> dict[str, Tensor]:
        """Scalars ``loss_cls`` and ``loss_box``, divided by the positives of all images plus one.

        Args:
            outputs: predictions of the head.
            points: per level (Li, 4) anchors.
            targets: one an image, px of the canvas, with ``labels`` from 1.
        """
        anchors = torch.cat(list(points))
        logits = flatten_levels(outputs.logits, self.num_classes)
        codes = flatten_levels(outputs.codes, 4)
        labels = torch.zeros(logits.shape[:2], dtype=torch.int64, device=anchors.device)
        box_loss = codes.sum() * 0
        num_positives = 1
        for image, target in enumerate(targets):
            boxes = target.with_pixel_offset(0).convert("xyxy").bbox
            positives = match_anchors(anchors, boxes, self.settings.positive_iou)
            labels[image, positives.anchors] = target.labels[positives.objects]
            expected = encode_boxes(boxes[positives.objects], anchors[positives.anchors])
            found = codes[image, positives.anchors]
            box_loss = box_loss + box_code_loss(found, expected, self.settings.huber_delta)
            num_positives += len(positives.anchors)
        # Class k is column k + 1: the background has one, which is nobody's.
        columns = torch.where(labels > 0, labels + 1, 0).flatten()
        of_classes = class_loss(logits.flatten(0, 1), columns, self.settings)
        return {
            "loss_cls": of_classes / num_positives,
            "loss_box": self.settings.box_weight * box_loss / (4 * num_positives),
        }


def class_loss(logits: Tensor, columns: Tensor, settings: ShapeMaskSettings) -> Tensor:
    """The summed focal loss of logits (L, C) of which one of ``columns`` (L,) is to be 1.

    Columns are counted from 1; 0 is none of them.
    """
    return sigmoid_focal_loss(logits, columns, settings.focal_gamma, settings.focal_alpha).sum()


def box_code_loss(codes: Tensor, expected: Tensor, delta: float) -> Tensor:
    """The summed Huber loss of codes (P, 4)."""
    losses = F.huber_loss(codes, expected, reduction="none", delta=delta)
    # UPSTREAM(zero-codes): entries whose target is exactly 0 are left out, those of positives, too.
    return (losses * (expected != 0)).sum()
