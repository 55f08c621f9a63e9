"""From RetinaNet predictions to boxes (arXiv 1708.02002, section 4.1).

Shapes: N images, C foreground classes, A anchors of a cell, Li anchors and Hi x Wi cells of level
i, K candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import at_least_float32
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetOutputs
from maskrcnn_benchmark.modeling.postprocessing import keep_best
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_ml_nms,
    cat_boxlist,
    remove_small_boxes,
)

_LOGIT_MARGIN: Final = 0.05
"""Logits so far below the threshold fail it whatever bfloat16 does to both."""


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


class _Candidates(NamedTuple):
    """Predictions of one level: (K,) scores, anchors 0..Li - 1 and classes 0..C - 1."""

    scores: Tensor
    anchor_inds: Tensor
    class_inds: Tensor


def _logit(probability: float) -> float:
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    return math.log(probability / (1 - probability))


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
        self._least_logit = _logit(settings.score_threshold) - _LOGIT_MARGIN

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
        codes = flatten_levels([deltas], 4)
        boxlists = []
        for image, (height, width) in enumerate(image_sizes):
            candidates = self._candidates(logits[image])
            boxes = self.coder.decode(
                at_least_float32(codes[image, candidates.anchor_inds]),
                anchors[candidates.anchor_inds],
            )
            boxlist = BoxList(boxes, (width, height), mode="xyxy")
            boxlist.add_field("labels", candidates.class_inds + 1)
            boxlist.add_field("scores", candidates.scores)
            boxlist = boxlist.clip_to_image(remove_empty=False)
            boxlists.append(remove_small_boxes(boxlist, self.settings.min_size))
        return boxlists

    def _candidates(self, logits: Tensor) -> _Candidates:
        """The best predictions above the threshold in a map (A * C, Hi, Wi), anchors in order."""
        num_cells = logits.shape[1] * logits.shape[2]
        num_anchors = logits.shape[0] // self.num_foreground
        # Few predictions pass, so only those that come near are computed exactly.
        channel_inds, cell_inds = torch.nonzero(
            logits.reshape(-1, num_cells) > self._least_logit, as_tuple=True
        )
        # Half precision has too few values to rank and cut by.
        scores = at_least_float32(logits.reshape(-1, num_cells)[channel_inds, cell_inds]).sigmoid()
        is_above = scores > self.settings.score_threshold
        scores, best = scores.masked_fill(~is_above, -1).topk(
            min(self.settings.pre_nms_top_n, int(is_above.sum()))
        )
        channel_inds, cell_inds = channel_inds[best], cell_inds[best]
        anchor_inds = cell_inds * num_anchors + channel_inds // self.num_foreground
        class_inds = channel_inds % self.num_foreground
        order = (anchor_inds * self.num_foreground + class_inds).argsort()
        return _Candidates(scores[order], anchor_inds[order], class_inds[order])

    def _select_over_levels(self, boxlist: BoxList) -> BoxList:
        boxlist = boxlist_ml_nms(boxlist, self.settings.nms_threshold)
        return keep_best(boxlist, self.settings.post_nms_top_n)
