"""From FCOS predictions to boxes (arXiv 1904.01355, section 3.1).

Shapes: N images, C foreground classes, Li locations of level i, K boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import at_least_float32
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.postprocessing import keep_best
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_ml_nms,
    cat_boxlist,
    remove_small_boxes,
)


@dataclass(frozen=True, slots=True)
class FCOSSelectionSettings:
    """Thresholds of the selection.

    Args:
        score_threshold: a candidate's class probability, before centerness, must exceed it.
        pre_nms_top_n: best candidates kept on each level.
        nms_threshold: of two boxes of one class with a higher IoU the worse one goes.
        post_nms_top_n: best boxes kept in an image; 0 keeps all. Ties at the cut-off are kept.
        min_size: smaller boxes go, px.
    """

    score_threshold: float
    pre_nms_top_n: int
    nms_threshold: float
    post_nms_top_n: int
    min_size: int = 0


def decode_boxes(locations: Tensor, ltrb: Tensor) -> Tensor:
    """Boxes (K, 4) xyxy, px, from locations (K, 2) and distances (K, 4).

    Source: FCOS, equation 1 solved for the corners.
    """
    return torch.cat([locations - ltrb[:, :2], locations + ltrb[:, 2:]], dim=1)


class FCOSPostProcessor:
    """Selects the best boxes of every image."""

    def __init__(self, settings: FCOSSelectionSettings, num_foreground: int) -> None:
        self.settings = settings
        self.num_foreground = num_foreground

    @torch.no_grad()
    def __call__(
        self,
        outputs: FCOSOutputs,
        locations: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """One BoxList an image with `labels` and `scores` (class probability x centerness).

        Boxes are xyxy, px of the resized image, clipped to it, in the order that NMS leaves.

        Args:
            outputs: predictions of the head.
            locations: per level (Li, 2), px.
            image_sizes: (height, width) of the images before padding.
        """
        per_level = [
            self._select_on_level(logits, ltrb, centerness, points, image_sizes)
            for logits, ltrb, centerness, points in zip(*outputs, locations, strict=True)
        ]
        return [
            self._select_over_levels(cat_boxlist(list(boxlists)))
            for boxlists in zip(*per_level, strict=True)
        ]

    def _select_on_level(
        self,
        logits: Tensor,
        ltrb: Tensor,
        centerness: Tensor,
        locations: Tensor,
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        # Half precision has too few values to rank and cut by.
        probs = at_least_float32(flatten_levels([logits], self.num_foreground)).sigmoid()
        distances = at_least_float32(flatten_levels([ltrb], 4))
        center_probs = at_least_float32(flatten_levels([centerness], 1)).sigmoid()
        # UPSTREAM(threshold-before-centerness): it is not the final score that must exceed it.
        is_candidate = probs > self.settings.score_threshold
        boxlists = []
        for image, (height, width) in enumerate(image_sizes):
            location_inds, class_inds = torch.nonzero(is_candidate[image], as_tuple=True)
            scores = probs[image, location_inds, class_inds] * center_probs[image, location_inds, 0]
            top_n = min(self.settings.pre_nms_top_n, len(scores))
            scores, best = scores.topk(top_n, sorted=False)
            location_inds, class_inds = location_inds[best], class_inds[best]
            boxes = decode_boxes(locations[location_inds], distances[image, location_inds])
            boxlist = BoxList(boxes, (width, height), mode="xyxy")
            boxlist.add_field("labels", class_inds + 1)
            boxlist.add_field("scores", scores)
            boxlist = boxlist.clip_to_image(remove_empty=False)
            boxlists.append(remove_small_boxes(boxlist, self.settings.min_size))
        return boxlists

    def _select_over_levels(self, boxlist: BoxList) -> BoxList:
        boxlist = boxlist_ml_nms(boxlist, self.settings.nms_threshold)
        return keep_best(boxlist, self.settings.post_nms_top_n)
