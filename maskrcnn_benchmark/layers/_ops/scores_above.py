"""The scores of a dense detector that exceed a threshold.

Shape symbols: N images, D predictions of a cell, C classes, H x W cells, K scores found.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative

_TYPES = (torch.float32, torch.float64, torch.bfloat16)


def scores_above(logits: Tensor, width: int, threshold: float) -> tuple[Tensor, Tensor]:
    """Places (3, K) and scores (K,); arguments as in ``layers.scores_above``."""
    check_shape("logits", logits, (None,) * 4)
    num_images, num_channels, height, feature_width = logits.shape
    if logits.dtype not in _TYPES:
        raise ValueError(f"logits: expected one of {_TYPES}, got {logits.dtype}")
    if width < 1 or num_channels % width:
        raise ValueError(f"width: expected a divisor of {num_channels}, got {width}")
    num_locations = height * feature_width * (num_channels // width)
    rows = logits.permute(0, 2, 3, 1).reshape(num_images, num_locations, width)
    scores = rows.to(torch.promote_types(rows.dtype, torch.float32)).sigmoid()
    places = torch.nonzero(scores > threshold).t().contiguous()
    return places, scores[tuple(places)]


def _fake(logits: Tensor, width: int, threshold: float) -> tuple[Tensor, Tensor]:
    del width, threshold
    try:
        num_found = torch.library.get_ctx().new_dynamic_size()
    except RuntimeError as error:
        raise ValueError("logits: on the meta device there are no values to find") from error
    precise = torch.promote_types(logits.dtype, torch.float32)
    return (
        logits.new_empty(3, num_found, dtype=torch.int64),
        logits.new_empty(num_found, dtype=precise),
    )


OPERATORS = (
    Operator(
        name="scores_above",
        schema="(Tensor logits, int width, float threshold) -> (Tensor, Tensor)",
        reference=scores_above,
        fake=_fake,
        backward=no_derivative("scores_above"),
    ),
)
