"""From RPN predictions to proposals (Faster R-CNN, section 3.3; FPN, arXiv 1612.03144, 4.1).

Shapes: N images, Li anchors of level i, K candidates of one level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.dense.selection import Candidates, join_candidates
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_nms, cat_boxlist


@dataclass(frozen=True, slots=True)
class ProposalSettings:
    """Limits of the selection.

    Args:
        pre_nms_top_n: best candidates kept on each level.
        nms_threshold: of two boxes of one level with a higher IoU the worse one goes.
        post_nms_top_n: best boxes kept on each level.
        fpn_post_nms_top_n: best boxes kept over all levels, where there are several.
        per_batch: that last limit holds for the whole batch, not for each image.
        min_size: smaller boxes go, px.
    """

    pre_nms_top_n: int
    nms_threshold: float
    post_nms_top_n: int
    fpn_post_nms_top_n: int
    per_batch: bool = False
    min_size: int = 0


class ProposalSelection:
    """Selects the best boxes of every image.

    Args:
        settings: limits.
        coder: decodes boxes relative to anchors.
    """

    def __init__(self, settings: ProposalSettings, coder: BoxCoder) -> None:
        self.settings = settings
        self.coder = coder

    @torch.no_grad()
    def __call__(
        self,
        outputs: RPNOutputs,
        anchors: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """One BoxList an image with ``objectness``, best first (level by level if ``per_batch``).

        Boxes are xyxy, px of the resized image, clipped to it.

        Args:
            outputs: predictions of the head.
            anchors: per level (Li, 4).
            image_sizes: (height, width) of the images before padding.
        """
        per_level = [
            self._decode(logits, deltas, level_anchors)
            for logits, deltas, level_anchors in zip(*outputs, anchors, strict=True)
        ]
        proposals = [
            cat_boxlist([self._select_on_level(level, image_hw) for level in levels])
            for levels, image_hw in zip(zip(*per_level, strict=True), image_sizes, strict=True)
        ]
        if len(per_level) == 1:
            return proposals
        if self.settings.per_batch:
            return _best_of_batch(proposals, self.settings.fpn_post_nms_top_n)
        return [_best(boxes, self.settings.fpn_post_nms_top_n) for boxes in proposals]

    def _decode(self, logits: Tensor, deltas: Tensor, anchors: Tensor) -> list[Candidates]:
        """The best candidates of a level for each image, best first."""
        objectness = flatten_levels([logits], 1).squeeze(2).sigmoid()  # (N, Li)
        top_n = min(self.settings.pre_nms_top_n, len(anchors))
        objectness, best = objectness.topk(top_n, dim=1, sorted=True)  # (N, K)
        codes = flatten_levels([deltas], 4).gather(1, best[..., None].expand(-1, -1, 4))
        boxes = self.coder.decode(codes.flatten(0, 1), anchors[best].flatten(0, 1)).view_as(codes)
        return [
            Candidates(image_boxes, {"objectness": scores})
            for image_boxes, scores in zip(boxes, objectness, strict=True)
        ]

    def _select_on_level(self, candidates: Candidates, image_hw: tuple[int, int]) -> BoxList:
        return boxlist_nms(
            join_candidates([candidates], image_hw, self.settings.min_size),
            self.settings.nms_threshold,
            max_proposals=self.settings.post_nms_top_n,
            score_field="objectness",
        )


def _best(boxlist: BoxList, limit: int) -> BoxList:
    """At most ``limit`` boxes of one image, best first."""
    objectness: Tensor = boxlist.get_field("objectness")
    return boxlist[objectness.topk(min(limit, len(boxlist)), sorted=True).indices]


def _best_of_batch(boxlists: Sequence[BoxList], limit: int) -> list[BoxList]:
    """The ``limit`` best boxes of all images, in their order."""
    sizes = [len(boxlist) for boxlist in boxlists]
    objectness = torch.cat([boxlist.get_field("objectness") for boxlist in boxlists])
    is_kept = torch.zeros_like(objectness, dtype=torch.bool)
    is_kept[objectness.topk(min(limit, len(objectness))).indices] = True
    return [
        boxlist[mask] for boxlist, mask in zip(boxlists, torch.split(is_kept, sizes), strict=True)
    ]
