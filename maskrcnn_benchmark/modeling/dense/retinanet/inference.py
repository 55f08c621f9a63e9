"""From RetinaNet predictions to boxes (arXiv 1708.02002, section 4.1).

Shapes: N images, C foreground classes, A anchors of a cell, Li anchors and Hi x Wi cells of level
i, K candidates.
"""

from collections.abc import Sequence

from torch import Tensor

from maskrcnn_benchmark.layers.scores_above import ScoresAbove, scores_of_images
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.selection import Candidates, Levels, SelectionSettings


def decode_levels(
    levels: Levels, anchors: Sequence[Tensor], settings: SelectionSettings, *, coder: BoxCoder
) -> list[list[Candidates]]:
    """Of each level each image's best predictions above the threshold, anchors in order.

    Args:
        levels: of each logits (N, A * C, Hi, Wi) and deltas (N, A * 4, Hi, Wi).
        anchors: per level (Li, 4).
        settings: thresholds.
        coder: decodes boxes relative to anchors.
    """
    logits, deltas = zip(*levels, strict=True)
    num_anchors = deltas[0].shape[1] // 4
    num_foreground = logits[0].shape[1] // num_anchors
    above = scores_of_images(logits, num_foreground, settings.score_threshold)
    return [
        _decode_level(*level, settings.pre_nms_top_n, coder)
        for level in zip(deltas, anchors, above, strict=True)
    ]


def _decode_level(
    deltas: Tensor,
    anchors: Tensor,
    above: Sequence[ScoresAbove],
    limit: int,
    coder: BoxCoder,
) -> list[Candidates]:
    codes = flatten_levels([deltas], 4)
    found = []
    for image, (_, anchor_inds, class_inds, scores) in enumerate(above):
        top_n = min(limit, len(scores))
        best = scores.topk(top_n, sorted=False).indices.sort().values
        anchor_inds = anchor_inds[best]
        boxes = coder.decode(codes[image, anchor_inds], anchors[anchor_inds])
        found.append(Candidates(boxes, {"labels": class_inds[best] + 1, "scores": scores[best]}))
    return found
