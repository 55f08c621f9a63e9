"""Masks stored at the pixels that they speak of, collected at the centres of their windows.

Shape symbols: N images, V cells of a window's side, S = factor * V of the enlarged one's, H x W
cells of the map, H' x W' of the result, one for every ``factor`` of these, rounded up.
Source: TensorMask (Chen et al., arXiv 1903.12174), sections 3.3 and 3.4.
"""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.arguments import (
    ShowsArguments,
    check_floating,
    check_shape,
    check_tensors,
)

OUTSIDE_LOGIT: Final = -6.0
"""What the map and its windows have outside: a probability of 0.0025."""


class _Taps(NamedTuple):
    """Where one window axis and the image axis that moves with it are read.

    Attributes:
        inds: (4, S * H') places in the V * H stored ones, V * H for outside.
        weights: (4, S * H') float32; of the four, those inside add up to 1 in the middle.
    """

    inds: Tensor
    weights: Tensor


def window_weights(side: int, factor: int, device: torch.device | None = None) -> Tensor:
    """(S, V) float32 weights with which an enlarged window's cells read those of the stored one.

    Rows whose cells lie partly outside add up to less than 1.

    Args:
        side: V.
        factor: how many times as many cells the enlarged window has.
        device: of the result.
    """
    position = (torch.arange(side * factor, device=device) + 0.5) / factor - 0.5
    distance = (position[:, None] - torch.arange(side, device=device)).abs()
    return (1 - distance).clamp(min=0)


def _taps(side: int, factor: int, length: int, device: torch.device) -> _Taps:
    """How the window index v and the image index y make those stored, along one axis.

    The read place of the image moves with the window's cell, so that neighbouring cells of a
    window are read at neighbouring pixels.
    """
    cells = torch.arange(side * factor, device=device, dtype=torch.float32)[:, None]
    centers = torch.arange(math.ceil(length / factor), device=device, dtype=torch.float32)
    within = ((cells + 0.5) / factor - 0.5).expand(-1, len(centers))
    places = factor * centers + cells + 0.5 - side * factor / 2
    inds, weights = [], []
    for row, of_row in _neighbours(places):
        for cell, of_cell in _neighbours(within):
            is_inside = (row >= 0) & (row < length) & (cell >= 0) & (cell < side)
            inds.append(torch.where(is_inside, cell * length + row, side * length).flatten())
            weights.append((of_row * of_cell * is_inside).flatten())
    return _Taps(torch.stack(inds).long(), torch.stack(weights))


def _neighbours(positions: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The whole numbers below and above, each with its weight."""
    below = positions.floor()
    share = positions - below
    return [(below, 1 - share), (below + 1, share)]


def _read(stored: Tensor, taps: _Taps) -> Tensor:
    """(S * H', K) what the taps read of (V * H, K)."""
    with_outside = torch.cat([stored, stored.new_zeros(1, stored.shape[1])])
    read = stored.new_zeros(taps.inds.shape[1], stored.shape[1])
    for inds, weights in zip(*taps, strict=True):
        read = read + with_outside.index_select(0, inds) * weights.to(stored)[:, None]
    return read


def swap_align2nat(x: Tensor, lambda_val: int, pad_val: float = OUTSIDE_LOGIT) -> Tensor:
    """(N, S * S, H', W') windows around each cell, linearly interpolated, of aligned ones.

    Channel v * V + u of cell (y, x) of the input is what this pixel is in the window whose cell
    (v, u) lies on it. The result's cell (y, x) has its own whole window, enlarged: its channel
    v' * S + u' reads v = (v' + 1/2) / factor - 1/2 at the row factor * y + v' + 1/2 - S / 2, u and
    columns alike; what is outside of window or map counts as ``pad_val``, with its weight.

    Differentiable in ``x``. Under autocast half precision is computed in float32.

    Args:
        x: (N, V * V, H, W) floating, of float32 or float64.
        lambda_val: the factor, a whole number of at least 1.
        pad_val: the value outside.

    Raises:
        ValueError: another shape, type or factor.
    """
    check_tensors(x=x)
    check_floating(x=x)
    check_shape("x", x, ("N", "V * V", "H", "W"))
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.promote_types(x.dtype, torch.float32))
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x: expected float32 or float64, got {x.dtype}")
    num_images, channels, height, width = x.shape
    side, factor = math.isqrt(channels), int(lambda_val)
    if side * side != channels:
        raise ValueError(f"x: expected a square number of channels, got {channels}")
    if factor != lambda_val or factor < 1:
        raise ValueError(f"lambda_val: expected a whole number of at least 1, got {lambda_val}")
    down, across = (_taps(side, factor, length, x.device) for length in (height, width))
    of_rows = x.reshape(num_images, side, side, height, width).permute(1, 3, 2, 4, 0)
    rows = _read(of_rows.reshape(side * height, side * width * num_images), down)
    of_columns = rows.view(len(rows), side * width, num_images).transpose(0, 1)
    both = _read(of_columns.reshape(side * width, len(rows) * num_images), across)
    # What is not inside is outside, whichever of the four axes leaves first.
    inside = down.weights.sum(dim=0) * across.weights.sum(dim=0)[:, None]
    both = both.view(*inside.shape, num_images) + pad_val * (1 - inside.to(x))[..., None]
    new_side = side * factor
    new_height, new_width = (math.ceil(length / factor) for length in (height, width))
    by_axis = both.view(new_side, new_width, new_side, new_height, num_images)
    windows = by_axis.permute(4, 2, 0, 3, 1)
    return windows.reshape(num_images, new_side**2, new_height, new_width)


class SwapAlign2Nat(ShowsArguments, nn.Module):
    """``swap_align2nat`` as a module.

    Args:
        lambda_val: the factor.
        pad_val: the value outside.
    """

    def __init__(self, lambda_val: int, pad_val: float = OUTSIDE_LOGIT) -> None:
        super().__init__()
        self.lambda_val = lambda_val
        self.pad_val = pad_val

    def forward(self, x: Tensor) -> Tensor:
        """See ``swap_align2nat``."""
        return swap_align2nat(x, self.lambda_val, self.pad_val)
