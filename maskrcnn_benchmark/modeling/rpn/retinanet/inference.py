"""From RetinaNet predictions to boxes (arXiv 1708.02002, section 4.1).

Shapes: N images, C foreground classes, Li anchors of level i.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import at_least_float32
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.postprocessing import keep_best
from maskrcnn_benchmark.modeling.rpn.levels import flatten_levels
from maskrcnn_benchmark.modeling.rpn.retinanet.head import RetinaNetOutputs
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_ml_nms,
    cat_boxlist,
    remove_small_boxes,
)


@dataclass(frozen=True, slots=True)
class RetinaNetSelectionSettings:
    """Thresholds of the selection.

    Args:
        score_threshold: a candidate's class probability must exceed it.
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


class RetinaNetPostProcessor:
    """Selects the best boxes of every image.

    Args:
        settings: thresholds.
        coder: decodes boxes relative to anchors.
        num_foreground: classes C.
    """

    def __init__(
        self, settings: RetinaNetSelectionSettings, coder: BoxCoder, num_foreground: int
    ) -> None:
        self.settings = settings
        self.coder = coder
        self.num_foreground = num_foreground

    @torch.no_grad()
    def __call__(
        self,
        outputs: RetinaNetOutputs,
        anchors: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """One BoxList an image with `labels` and `scores`, in the order that NMS leaves.

        Boxes are xyxy, px of the resized image, clipped to it.

        Args:
            outputs: predictions of the head.
            anchors: per level (Li, 4).
            image_sizes: (height, width) of the images before padding.
        """
        per_level = [
            self._select_on_level(logits, deltas, level_anchors, image_sizes)
            for logits, deltas, level_anchors in zip(*outputs, anchors, strict=True)
        ]
        return [
            self._select_over_levels(cat_boxlist(list(boxlists)))
            for boxlists in zip(*per_level, strict=True)
        ]

    def _select_on_level(
        self,
        logits: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        # Half precision has too few values to rank and cut by.
        probs = at_least_float32(flatten_levels([logits], self.num_foreground)).sigmoid()
        codes = flatten_levels([deltas], 4)
        boxlists = []
        for image, (height, width) in enumerate(image_sizes):
            anchor_inds, class_inds = torch.nonzero(
                probs[image] > self.settings.score_threshold, as_tuple=True
            )
            scores = probs[image, anchor_inds, class_inds]
            top_n = min(self.settings.pre_nms_top_n, len(scores))
            scores, best = scores.topk(top_n, sorted=False)
            anchor_inds, class_inds = anchor_inds[best], class_inds[best]
            boxes = self.coder.decode(
                at_least_float32(codes[image, anchor_inds]), anchors[anchor_inds]
            )
            boxlist = BoxList(boxes, (width, height), mode="xyxy")
            boxlist.add_field("labels", class_inds + 1)
            boxlist.add_field("scores", scores)
            boxlist = boxlist.clip_to_image(remove_empty=False)
            boxlists.append(remove_small_boxes(boxlist, self.settings.min_size))
        return boxlists

    def _select_over_levels(self, boxlist: BoxList) -> BoxList:
        boxlist = boxlist_ml_nms(boxlist, self.settings.nms_threshold)
        return keep_best(boxlist, self.settings.post_nms_top_n)
