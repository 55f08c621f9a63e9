"""Pixel positions of the cells of feature maps (FCOS, arXiv 1904.01355, section 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import LEGACY, GridRules
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.dense.levels import Pitch, level_pitches

# Offsets of the points of one cell from its centre, in quarters of a stride, (x, y).
DENSE_POINT_OFFSETS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    4: ((-1, -1), (1, -1), (-1, 1), (1, 1)),
    5: ((-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)),
}


def check_dense_points(dense_points: int) -> int:
    """``dense_points`` itself.

    Raises:
        ConfigError: unless it is 1, 4 or 5.
    """
    if dense_points not in DENSE_POINT_OFFSETS:
        raise ConfigError(
            f"MODEL.FCOS.DENSE_POINTS: expected one of {sorted(DENSE_POINT_OFFSETS)}, "
            f"got {dense_points}"
        )
    return dense_points


def level_locations(
    feature_hw: tuple[int, int],
    stride: int,
    dense_points: int,
    device: torch.device,
    *,
    pitch: Pitch | None = None,
    centred: bool = True,
) -> Tensor:
    """Locations of one level, (H * W * dense_points, 2) float (x, y), px of the padded batch.

    Row-major over cells, the points of a cell next to each other; a cell's centre is
    (x * stride + stride // 2, y * stride + stride // 2).

    Args:
        feature_hw: size of the feature map in cells.
        stride: px per cell.
        dense_points: points per cell: 1, or 4 or 5 around the centre.
        device: where the result lives.
        pitch: from cell to cell, if it is not the stride.
        centred: otherwise a cell's first corner stands for its centre.
    """
    height, width = feature_hw
    pitch = pitch or Pitch(stride, stride)
    first = stride // 2 if centred else 0
    y = torch.arange(height, device=device, dtype=torch.float32) * pitch.y + first
    x = torch.arange(width, device=device, dtype=torch.float32) * pitch.x + first
    # Numbers that PyTorch adds where the maps are: sending them over would wait for a GPU.
    quarter = stride // 4
    around = [
        torch.stack(
            [
                (x + right * quarter).expand(height, width),
                (y[:, None] + down * quarter).expand(height, width),
            ],
            dim=-1,
        )
        for right, down in DENSE_POINT_OFFSETS[dense_points]
    ]
    return torch.stack(around, dim=2).reshape(-1, 2)


def compute_locations(
    features: Sequence[Tensor],
    strides: Sequence[int],
    dense_points: int,
    rules: GridRules = LEGACY.grid,
) -> list[Tensor]:
    """Locations of every level, each (Li, 2) float (x, y), px of the padded batch.

    Raises:
        ConfigError: if there are more or fewer maps than strides.
    """
    if len(features) != len(strides):
        raise ConfigError(
            f"MODEL.FCOS.FPN_STRIDES: the backbone makes {len(features)} feature maps, "
            f"got {len(strides)} strides {list(strides)}"
        )
    sizes_hw = [(feature.shape[-2], feature.shape[-1]) for feature in features]
    pitches = level_pitches(sizes_hw, strides, rules.pitch)
    return [
        level_locations(
            size_hw, stride, dense_points, feature.device, pitch=pitch, centred=rules.centred
        )
        for size_hw, stride, feature, pitch in zip(
            sizes_hw, strides, features, pitches, strict=True
        )
    ]
