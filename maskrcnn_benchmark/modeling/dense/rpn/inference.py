"""From RPN predictions to proposals (Faster R-CNN, section 3.3; FPN, arXiv 1612.03144, 4.1).

Shapes: N images, A anchors of a cell, Li anchors and Hi x Wi cells of level i, K candidates of one
level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.selection import (
    Candidates,
    Selection,
    SelectionSettings,
    each_level,
    suppress,
)
from maskrcnn_benchmark.modeling.targets import cat_images
from maskrcnn_benchmark.structures.bounding_box import BoxList


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalSettings(SelectionSettings):
    """Limits of the selection; those of ``SelectionSettings`` hold on each level.

    Args:
        score_threshold: means nothing here, as the best are taken whatever their score.
        fpn_post_nms_top_n: best boxes kept over all levels, where there are several.
        per_batch: that last limit holds for the whole batch, not for each image.
    """

    score_threshold: float = 0.0
    fpn_post_nms_top_n: int
    per_batch: bool = False


class ProposalSelection(Selection):
    """Selects the best boxes of every image, level by level, and then the best of these.

    Args:
        settings: limits.
        coder: decodes boxes relative to anchors.
    """

    settings: ProposalSettings

    def __init__(self, settings: ProposalSettings, coder: BoxCoder) -> None:
        super().__init__(settings, each_level(partial(decode_level, coder=coder)))
        self.coder = coder

    @torch.no_grad()
    def __call__(
        self,
        outputs: Sequence[Sequence[Tensor]],
        points: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """As ``Selection``, with ``objectness``, best first (level by level if ``per_batch``)."""
        proposals = super().__call__(outputs, points, image_sizes)
        if len(points) == 1:
            return proposals
        if self.settings.per_batch:
            return _best_of_batch(proposals, self.settings.fpn_post_nms_top_n)
        return [_best(boxes, self.settings.fpn_post_nms_top_n) for boxes in proposals]

    def _survive(self, boxlist: BoxList, is_large: Tensor, num_per_level: Sequence[int]) -> Tensor:
        """Level by level those that survive, and of these the best."""
        settings = self.settings
        objectness: Tensor = boxlist.get_field("objectness")
        first, kept = 0, []
        for number in num_per_level:
            of_level = slice(first, first + number)
            first += number
            scores = objectness[of_level]
            survives = suppress(boxlist[of_level], is_large[of_level], None, scores, settings)
            if settings.nms_threshold > 0:
                survives = survives & _is_best(scores, survives, settings.post_nms_top_n)
            kept.append(survives)
        return torch.cat(kept)


def decode_level(
    level: Sequence[Tensor], anchors: Tensor, settings: SelectionSettings, *, coder: BoxCoder
) -> list[Candidates]:
    """For each image the best predictions of a level, with ``objectness``, best first.

    Args:
        level: logits (N, A, Hi, Wi) and deltas (N, A * 4, Hi, Wi).
        anchors: (Li, 4).
        settings: limits.
        coder: decodes boxes relative to anchors.
    """
    logits, deltas = level
    objectness = flatten_levels([logits], 1).squeeze(2).sigmoid()  # (N, Li)
    top_n = min(settings.pre_nms_top_n, len(anchors))
    objectness, best = objectness.topk(top_n, dim=1, sorted=True)  # (N, K)
    codes = flatten_levels([deltas], 4).gather(1, best[..., None].expand(-1, -1, 4))
    boxes = coder.decode(codes.flatten(0, 1), anchors[best].flatten(0, 1)).view_as(codes)
    return [
        Candidates(image_boxes, {"objectness": scores})
        for image_boxes, scores in zip(boxes, objectness, strict=True)
    ]


def _is_best(scores: Tensor, is_there: Tensor, limit: int) -> Tensor:
    """(K,) bool: the ``limit`` best of what is there, of equal ones the first; <= 0 keeps all.

    What is not there may be among them where less than ``limit`` are.
    """
    if not 0 < limit < len(scores):
        return is_there
    order = scores.masked_fill(~is_there, -torch.inf).argsort(descending=True, stable=True)
    return torch.zeros_like(is_there).index_fill_(0, order[:limit], True)


def _best(boxlist: BoxList, limit: int) -> BoxList:
    """At most ``limit`` boxes of one image, best first."""
    objectness: Tensor = boxlist.get_field("objectness")
    return boxlist[objectness.topk(min(limit, len(boxlist)), sorted=True).indices]


def _best_of_batch(boxlists: Sequence[BoxList], limit: int) -> list[BoxList]:
    """The ``limit`` best boxes of all images, in their order."""
    sizes = [len(boxlist) for boxlist in boxlists]
    objectness = cat_images(
        [boxlist.get_field("objectness") for boxlist in boxlists], torch.zeros(0)
    )
    is_kept = torch.zeros_like(objectness, dtype=torch.bool)
    is_kept[objectness.topk(min(limit, len(objectness))).indices] = True
    return [
        boxlist[mask] for boxlist, mask in zip(boxlists, torch.split(is_kept, sizes), strict=True)
    ]
