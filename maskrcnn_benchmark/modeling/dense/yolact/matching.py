"""Which anchor learns which object (arXiv 1904.02689, section 5; crowds as in the program).

Shapes: L anchors, G objects, B crowds of one image.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.dense.overlaps import pairwise_intersection, pairwise_iou
from maskrcnn_benchmark.modeling.dense.yolact.anchors import anchor_corners

NEUTRAL: Final = -1
BACKGROUND: Final = 0


class Matches(NamedTuple):
    """What the anchors of one image learn.

    Attributes:
        labels: (L,) class, BACKGROUND or NEUTRAL.
        objects: (L,) number of the object that each anchor is nearest to; 0 without objects.
    """

    labels: Tensor
    objects: Tensor


class YolactMatcher:
    """Matches anchors with objects.

    Args:
        positive_iou: from this IoU on an anchor learns its best object.
        negative_iou: below it an anchor is background; in between it learns nothing.
        crowd_share: so is background with more of its area than this inside one crowd.
    """

    def __init__(self, *, positive_iou: float, negative_iou: float, crowd_share: float) -> None:
        self.positive_iou = positive_iou
        self.negative_iou = negative_iou
        self.crowd_share = crowd_share

    @torch.no_grad()
    def __call__(self, anchors: Tensor, boxes: Tensor, labels: Tensor, crowds: Tensor) -> Matches:
        """The matches of one image; every object gets one anchor of its own, however far it is.

        Args:
            anchors: (L, 4) centre x, y, width, height.
            boxes: (G, 4) xyxy.
            labels: (G,) classes from 1.
            crowds: (B, 4) xyxy.
        """
        corners = anchor_corners(anchors)
        objects = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
        states = torch.full_like(objects, BACKGROUND)
        if len(boxes) > 0 and len(anchors) > 0:
            ious = pairwise_iou(boxes, corners)
            best, objects = ious.max(dim=0)
            forced_anchors, forced_objects = _forced(ious)
            best[forced_anchors] = self.positive_iou
            objects[forced_anchors] = forced_objects
            states = labels[objects]
            states = torch.where(best < self.positive_iou, NEUTRAL, states)
            states = torch.where(best < self.negative_iou, BACKGROUND, states)
        if len(crowds) > 0:
            sides = corners[:, 2:] - corners[:, :2]
            shares = pairwise_intersection(corners, crowds) / sides.prod(dim=1)[:, None]
            is_in_crowd = (states <= BACKGROUND) & (shares.amax(dim=1) > self.crowd_share)
            states = torch.where(is_in_crowd, NEUTRAL, states)
        return Matches(states, objects)


def _forced(ious: Tensor) -> tuple[Tensor, Tensor]:
    """One anchor for each object, and the objects in that order: the best IoU left goes first.

    Only objects whose anchor was taken look for another one, so that G objects cost about G rows.
    """
    left = ious.clone()
    best, anchors = left.max(dim=1)
    pairs = []
    for _ in range(min(ious.shape)):
        chosen = best.argmax()
        anchor = anchors[chosen]
        pairs.append((anchor.clone(), chosen))
        left[chosen] = -1
        left[:, anchor] = -1
        is_late = (anchors == anchor).nonzero().squeeze(1)
        best[is_late], anchors[is_late] = left[is_late].max(dim=1)
        best[chosen] = -1
    taken, owners = zip(*pairs, strict=True)
    return torch.stack(taken), torch.stack(owners)
