"""From maps of several levels to one list of predictions.

Shapes: N images, D predictions of a cell, L predictions over all levels, Hi x Wi cells of level i.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def flatten_levels(per_level: Sequence[Tensor], width: int) -> Tensor:
    """(N, L, width) from maps (N, D * width, Hi, Wi): rows, then columns, then those of a cell."""
    return torch.cat(
        [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, width) for level in per_level],
        dim=1,
    )
