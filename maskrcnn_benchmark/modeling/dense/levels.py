"""From maps of several levels to one list of predictions.

Shapes: N images, D predictions of a cell, L predictions over all levels, Hi x Wi cells of level i.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def flatten_levels(per_level: Sequence[Tensor], width: int) -> Tensor:
    """(N, L, width) from maps (N, D * width, Hi, Wi): rows, then columns, then those of a cell."""
    return torch.cat([flatten_level(level, width) for level in per_level], dim=1)


def flatten_level(level: Tensor, width: int) -> Tensor:
    """(N, L, width) from one map, as ``flatten_levels``; where it can be, a view."""
    num_images, channels, height, feature_width = level.shape
    # In numbers, because -1 is ambiguous without images.
    num_predictions = height * feature_width * (channels // width)
    return level.permute(0, 2, 3, 1).reshape(num_images, num_predictions, width)
