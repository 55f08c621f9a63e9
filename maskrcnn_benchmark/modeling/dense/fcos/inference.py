"""From FCOS predictions to boxes (arXiv 1904.01355, section 3.1).

Shapes: N images, C foreground classes, D points of a cell, Li locations of level i, K boxes.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import ScoreRule
from maskrcnn_benchmark.layers import scores_above
from maskrcnn_benchmark.modeling.dense.selection import Candidates, SelectionSettings


def decode_boxes(locations: Tensor, ltrb: Tensor) -> Tensor:
    """Boxes (K, 4) xyxy, px, from locations (K, 2) and distances (K, 4).

    Source: FCOS, equation 1 solved for the corners.
    """
    return torch.cat([locations - ltrb[:, :2], locations + ltrb[:, 2:]], dim=1)


def product_score(ranks: Tensor) -> Tensor:
    """Class probability x centerness, by which candidates are ranked, is the score itself."""
    return ranks


def root_score(ranks: Tensor) -> Tensor:
    """The geometric mean of class probability and centerness (CenterMask2)."""
    return ranks.sqrt()


SCORES: Mapping[ScoreRule, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"product": product_score, "root": root_score}
)


def decode_level(
    level: Sequence[Tensor],
    locations: Tensor,
    settings: SelectionSettings,
    *,
    score: Callable[[Tensor], Tensor] = product_score,
) -> list[Candidates]:
    """For each image the best candidates of a level, ranked by class probability x centerness.

    Args:
        level: logits (N, D * C, Hi, Wi), ltrb (N, D * 4, Hi, Wi), centerness (N, D, Hi, Wi).
        locations: (Li, 2), px.
        settings: thresholds.
        score: of these products.
    """
    logits, ltrb, centerness = level
    num_foreground = logits.shape[1] // centerness.shape[1]
    # Rows, then columns, then the points of a cell, as locations come.
    center_probs = centerness.permute(0, 2, 3, 1).flatten(1).sigmoid()
    distances = ltrb.permute(0, 2, 3, 1).reshape(*center_probs.shape, 4)
    found = []
    for image in range(len(logits)):
        # UPSTREAM(threshold-before-centerness): it is not the final score that must exceed it.
        _, location_inds, class_inds, probs = scores_above(
            logits[image : image + 1], num_foreground, settings.score_threshold
        )
        scores = probs * center_probs[image, location_inds]
        top_n = min(settings.pre_nms_top_n, len(scores))
        scores, best = scores.topk(top_n, sorted=False)
        location_inds, class_inds = location_inds[best], class_inds[best]
        boxes = decode_boxes(locations[location_inds], distances[image, location_inds])
        found.append(Candidates(boxes, {"labels": class_inds + 1, "scores": score(scores)}))
    return found
