"""From RetinaNet predictions to boxes (arXiv 1708.02002, section 4.1).

Shapes: N images, C foreground classes, A anchors of a cell, Li anchors and Hi x Wi cells of level
i, K candidates.
"""

from collections.abc import Sequence

from torch import Tensor

from maskrcnn_benchmark.layers import scores_above
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.selection import (
    Candidates,
    SelectionSettings,
    split_images,
)


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
    above = scores_above(logits, num_foreground, settings.score_threshold)
    found = []
    for image, (_, anchor_inds, class_inds, scores) in enumerate(split_images(above, len(logits))):
        top_n = min(settings.pre_nms_top_n, len(scores))
        best = scores.topk(top_n, sorted=False).indices.sort().values
        anchor_inds = anchor_inds[best]
        boxes = coder.decode(codes[image, anchor_inds], anchors[anchor_inds])
        found.append(Candidates(boxes, {"labels": class_inds[best] + 1, "scores": scores[best]}))
    return found
