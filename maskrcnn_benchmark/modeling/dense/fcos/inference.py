"""From FCOS predictions to boxes (arXiv 1904.01355, section 3.1).

Shapes: N images, C foreground classes, D points of a cell, Li locations of level i, K boxes.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import ScoreRule
from maskrcnn_benchmark.layers import scores_above
from maskrcnn_benchmark.modeling.dense.selection import (
    Candidates,
    SelectionSettings,
    split_images,
)


def decode_boxes(locations: Tensor, ltrb: Tensor) -> Tensor:
    """Boxes (K, 4) xyxy, px, from locations (K, 2) and distances (K, 4).

    Source: FCOS, equation 1 solved for the corners.
    """
    return torch.cat([locations - ltrb[:, :2], locations + ltrb[:, 2:]], dim=1)


class Score(NamedTuple):
    """What the score of a candidate is.

    Attributes:
        of_rank: makes it of class probability x centerness, by which candidates are ranked.
        rank_of: the way back, for a threshold.
    """

    of_rank: Callable[[Tensor], Tensor]
    rank_of: Callable[[float], float]


PRODUCT: Final = Score(of_rank=lambda rank: rank, rank_of=lambda score: score)
"""The product itself."""
ROOT: Final = Score(of_rank=torch.sqrt, rank_of=lambda score: score**2)
"""The geometric mean of class probability and centerness (CenterMask2)."""
SCORES: Final[Mapping[ScoreRule, Score]] = MappingProxyType({"product": PRODUCT, "root": ROOT})


def decode_level(
    level: Sequence[Tensor],
    locations: Tensor,
    settings: SelectionSettings,
    *,
    score: Score = PRODUCT,
    limits_score: bool = False,
) -> list[Candidates]:
    """For each image the best candidates of a level, ranked by class probability x centerness.

    Args:
        level: logits (N, D * C, Hi, Wi), ltrb (N, D * 4, Hi, Wi), centerness (N, D, Hi, Wi).
        locations: (Li, 2), px.
        settings: thresholds.
        score: of these products.
        limits_score: it is the score that must exceed the threshold, not the class probability.
    """
    logits, ltrb, centerness = level
    least = settings.score_threshold
    if limits_score:
        # No product is larger than its class probability.
        least = score.rank_of(least)
    num_foreground = logits.shape[1] // centerness.shape[1]
    # Rows, then columns, then the points of a cell, as locations come.
    center_probs = centerness.permute(0, 2, 3, 1).flatten(1).sigmoid()
    distances = ltrb.permute(0, 2, 3, 1).reshape(*center_probs.shape, 4)
    # UPSTREAM(threshold-before-centerness): it is not the final score that must exceed it.
    above = split_images(scores_above(logits, num_foreground, least), len(logits))
    found = []
    for image, (_, location_inds, class_inds, probs) in enumerate(above):
        ranks = probs * center_probs[image, location_inds]
        top_n = min(settings.pre_nms_top_n, len(ranks))
        ranks, best = ranks.topk(top_n, sorted=False)
        if limits_score:
            is_enough = ranks > least
            ranks, best = ranks[is_enough], best[is_enough]
        location_inds, class_inds = location_inds[best], class_inds[best]
        boxes = decode_boxes(locations[location_inds], distances[image, location_inds])
        found.append(Candidates(boxes, {"labels": class_inds + 1, "scores": score.of_rank(ranks)}))
    return found
