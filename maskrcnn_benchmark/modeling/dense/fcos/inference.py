"""From FCOS predictions to boxes (arXiv 1904.01355, section 3.1).

Shapes: N images, C foreground classes, D points of a cell, Li locations of level i, K boxes.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import ScoreRule
from maskrcnn_benchmark.layers.scores_above import ScoresAbove, scores_of_images
from maskrcnn_benchmark.modeling.dense.selection import Candidates, Levels, SelectionSettings


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


def decode_levels(
    levels: Levels,
    locations: Sequence[Tensor],
    settings: SelectionSettings,
    *,
    score: Score = PRODUCT,
    limits_score: bool = False,
) -> list[list[Candidates]]:
    """Of each level each image's best candidates, ranked by class probability x centerness.

    Args:
        levels: of each logits (N, D * C, Hi, Wi), ltrb (N, D * 4, Hi, Wi), centerness
            (N, D, Hi, Wi).
        locations: per level (Li, 2), px.
        settings: thresholds.
        score: of these products.
        limits_score: it is the score that must exceed the threshold, not the class probability.
    """
    # No product is larger than its class probability.
    least = score.rank_of(settings.score_threshold) if limits_score else settings.score_threshold
    logits, _, centerness = zip(*levels, strict=True)
    num_foreground = logits[0].shape[1] // centerness[0].shape[1]
    # UPSTREAM(threshold-before-centerness): it is not the final score that must exceed it.
    above = scores_of_images(logits, num_foreground, least)
    limit = least if limits_score else None
    return [
        _decode_level(level, level_locations, of_images, settings, score, limit)
        for level, level_locations, of_images in zip(levels, locations, above, strict=True)
    ]


def _decode_level(
    level: Sequence[Tensor],
    locations: Tensor,
    above: Sequence[ScoresAbove],
    settings: SelectionSettings,
    score: Score,
    least: float | None,
) -> list[Candidates]:
    """Those of one level; with a ``least`` they must exceed it as ranks, too."""
    _, ltrb, centerness = level
    # Rows, then columns, then the points of a cell, as locations come.
    center_probs = centerness.permute(0, 2, 3, 1).flatten(1).sigmoid()
    distances = ltrb.permute(0, 2, 3, 1).reshape(*center_probs.shape, 4)
    found = []
    for image, (_, location_inds, class_inds, probs) in enumerate(above):
        ranks = probs * center_probs[image, location_inds]
        top_n = min(settings.pre_nms_top_n, len(ranks))
        ranks, best = ranks.topk(top_n, sorted=False)
        if least is not None:
            is_enough = ranks > least
            ranks, best = ranks[is_enough], best[is_enough]
        location_inds, class_inds = location_inds[best], class_inds[best]
        boxes = decode_boxes(locations[location_inds], distances[image, location_inds])
        found.append(Candidates(boxes, {"labels": class_inds + 1, "scores": score.of_rank(ranks)}))
    return found
