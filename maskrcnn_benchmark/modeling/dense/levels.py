"""From maps of several levels to one list of predictions.

Shapes: N images, D predictions of a cell, L predictions over all levels, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import PitchRule


class Pitch(NamedTuple):
    """Distances of neighbouring cells of a map.

    Attributes:
        y: px from row to row.
        x: px from column to column.
    """

    y: int
    x: int


def level_pitches(
    sizes_hw: Sequence[tuple[int, int]], strides: Sequence[int], rule: PitchRule
) -> list[Pitch]:
    """How far apart the cells of every level lie in the padded batch.

    Args:
        sizes_hw: rows and columns of each map, finest first.
        strides: px per cell of each.
        rule: "stride", each level's own; or "image", as many whole px as the padded image has for
            each cell, which is less than the stride where a map was rounded up (torchvision).
    """
    if rule == "stride":
        return [Pitch(stride, stride) for stride in strides]
    # The finest map divides the padded image without a rest.
    height, width = (cells * strides[0] for cells in sizes_hw[0])
    return [Pitch(height // rows, width // columns) for rows, columns in sizes_hw]


def flatten_levels(per_level: Sequence[Tensor], width: int) -> Tensor:
    """(N, L, width) from maps (N, D * width, Hi, Wi): rows, then columns, then those of a cell."""
    return torch.cat([flatten_level(level, width) for level in per_level], dim=1)


def flatten_level(level: Tensor, width: int) -> Tensor:
    """(N, L, width) from one map, as ``flatten_levels``; where it can be, a view."""
    num_images, channels, height, feature_width = level.shape
    # In numbers, because -1 is ambiguous without images.
    num_predictions = height * feature_width * (channels // width)
    return level.permute(0, 2, 3, 1).reshape(num_images, num_predictions, width)
