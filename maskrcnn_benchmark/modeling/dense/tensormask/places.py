"""Where the windows of TensorMask lie: levels, rows, columns and sizes.

Shapes: A window sizes of a cell, L windows over all levels, K windows, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """K windows, (K,) int64 each.

    Attributes:
        levels: of the map, 0 is the finest.
        rows, columns: of the cell.
        sizes: which of the cell's windows, 0 is the smallest.
    """

    levels: Tensor
    rows: Tensor
    columns: Tensor
    sizes: Tensor


def locate(inds: Tensor, maps_hw: Sequence[tuple[int, int]], num_sizes: int) -> Places:
    """The windows of numbers (K,) in the order level, row, column, size.

    Args:
        inds: in [0, L).
        maps_hw: rows and columns of every level.
        num_sizes: A.
    """
    starts = list(accumulate((h * w * num_sizes for h, w in maps_hw), initial=0))
    ends = torch.tensor(starts[1:], device=inds.device)
    levels = torch.bucketize(inds.contiguous(), ends, right=True)
    widths = torch.tensor([w for _, w in maps_hw], device=inds.device)[levels]
    within = inds - torch.tensor(starts, device=inds.device)[levels]
    cells = within.div(num_sizes, rounding_mode="floor")
    rows = cells.div(widths, rounding_mode="floor")
    return Places(levels, rows, cells - rows * widths, within % num_sizes)


def cells_hw(maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Rows and columns of every map (N, C, Hi, Wi)."""
    return [(one.shape[2], one.shape[3]) for one in maps]
