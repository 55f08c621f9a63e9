"""The few scores of a dense detector that matter, without computing all of them.

Shape symbols: N images, D predictions of a cell, C classes, H x W cells, K scores found.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors


class ScoresAbove(NamedTuple):
    """Scores in the order of images, rows, columns, predictions of a cell, classes.

    Attributes:
        images: (K,) int64, of each score.
        locations: (K,) int64: cell times D plus the prediction of the cell, cells row by row.
        classes: (K,) int64 in [0, C).
        scores: (K,) the sigmoids, float64 of float64 and else float32.
    """

    images: Tensor
    locations: Tensor
    classes: Tensor
    scores: Tensor


def scores_above(logits: Tensor, num_classes: int, threshold: float) -> ScoresAbove:
    """The sigmoids of ``logits`` that exceed ``threshold``, and where they are.

    Not differentiable. A score depends on its logit alone. NaN exceeds nothing. Without images,
    cells or classes there are none.

    Args:
        logits: (N, D * C, H, W) floating, in any layout; half precision is computed in float32.
        num_classes: C, which divides the channels.
        threshold: for the type that is computed in, in which it is compared.

    Raises:
        ValueError: wrong shape or type; classes that do not divide the channels.
    """
    check_tensors(logits=logits)
    check_floating(logits=logits)
    check_shape("logits", logits, ("N", "D * C", "H", "W"))
    if num_classes < 1 or logits.shape[1] % num_classes:
        wanted = f"a divisor of {logits.shape[1]}"
        raise ValueError(f"num_classes: expected {wanted}, got {num_classes}")
    stored = logits.float() if logits.dtype == torch.float16 else logits
    places, scores = torch.ops.centermask.scores_above(stored.detach(), num_classes, threshold)
    images, locations, classes = places.unbind()
    return ScoresAbove(images, locations, classes, scores)
