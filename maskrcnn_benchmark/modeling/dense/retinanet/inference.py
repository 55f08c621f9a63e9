"""From RetinaNet predictions to boxes (arXiv 1708.02002, section 4.1).

Shapes: N images, C foreground classes, A anchors of a cell, Li anchors and Hi x Wi cells of level
i, K candidates.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.selection import Candidates, SelectionSettings

_LOGIT_MARGIN: Final = 0.05
"""Logits so far below the threshold's fail it, however the sigmoid is rounded."""


def _logit(probability: float) -> float:
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    return math.log(probability / (1 - probability))


def decode_level(
    level: Sequence[Tensor], anchors: Tensor, settings: SelectionSettings, *, coder: BoxCoder
) -> list[Candidates]:
    """For each image the best predictions of a level above the threshold, anchors in order.

    Args:
        level: logits (N, A * C, Hi, Wi) and deltas (N, A * 4, Hi, Wi).
        anchors: (Li, 4).
        settings: thresholds.
        coder: decodes boxes relative to anchors.
    """
    logits, deltas = level
    codes = flatten_levels([deltas], 4)
    num_anchors = deltas.shape[1] // 4
    num_foreground = logits.shape[1] // num_anchors
    num_cells = logits.shape[2] * logits.shape[3]
    least_logit = _logit(settings.score_threshold) - _LOGIT_MARGIN
    found = []
    for image_logits, image_codes in zip(logits, codes, strict=True):
        by_channel = image_logits.reshape(-1, num_cells)
        # Few predictions pass, so only those that come near are computed exactly.
        channel_inds, cell_inds = torch.nonzero(by_channel > least_logit, as_tuple=True)
        scores = by_channel[channel_inds, cell_inds].sigmoid()
        is_above = scores > settings.score_threshold
        top_n = min(settings.pre_nms_top_n, int(is_above.sum()))
        scores, best = scores.masked_fill(~is_above, -1).topk(top_n)
        channel_inds, cell_inds = channel_inds[best], cell_inds[best]
        anchor_inds = cell_inds * num_anchors + channel_inds // num_foreground
        class_inds = channel_inds % num_foreground
        order = (anchor_inds * num_foreground + class_inds).argsort()
        anchor_inds = anchor_inds[order]
        boxes = coder.decode(image_codes[anchor_inds], anchors[anchor_inds])
        found.append(Candidates(boxes, {"labels": class_inds[order] + 1, "scores": scores[order]}))
    return found
