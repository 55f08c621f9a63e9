"""Deformable convolution in plain PyTorch.

Shape symbols: N images, C input channels, O output channels, H x W input map, P x Q output map,
K = kernel height x kernel width taps, D deformable groups, L = P x Q locations.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class _Corners(NamedTuple):
    """The four cells around every sample, each (4, N, D, K, L); weights are 0 outside the map."""

    cells: Tensor
    weights: Tensor


def _positions(
    offset: Tensor,
    kernel_hw: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Rows and columns (N, D, K, L) that the taps read, in cells of the input map."""
    num_images, maps, out_height, out_width = offset.shape
    num_taps = kernel_hw[0] * kernel_hw[1]
    shifts = offset.reshape(num_images, maps // num_taps // 2, num_taps, 2, out_height, out_width)
    steps = zip((out_height, out_width, *kernel_hw), (*stride, *dilation), strict=True)
    axes = [torch.arange(size, device=offset.device) * step for size, step in steps]
    rows = axes[0][None, :, None] + axes[2].repeat_interleave(kernel_hw[1])[:, None, None]
    columns = axes[1][None, None, :] + axes[3].repeat(kernel_hw[0])[:, None, None]
    y = shifts[:, :, :, 0] + (rows - padding[0])
    x = shifts[:, :, :, 1] + (columns - padding[1])
    return y.flatten(3), x.flatten(3)


def _corners(y: Tensor, x: Tensor, map_hw: tuple[int, int]) -> _Corners:
    height, width = map_hw
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    y, x = torch.where(inside, y, 0.0), torch.where(inside, x, 0.0)
    top, left = y.floor(), x.floor()
    cells, weights = [], []
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            counts = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            cells.append(torch.where(counts, row * width + column, 0.0).long())
            weights.append(torch.where(counts, row_weight * column_weight, 0.0))
    return _Corners(torch.stack(cells), torch.stack(weights))


def _sample(input: Tensor, corners: _Corners) -> Tensor:
    """Bilinear samples (N, D, C / D, K, L)."""
    num_images, channels = input.shape[:2]
    num_groups, num_taps, num_locations = corners.cells.shape[2:]
    num_cells = input.shape[2] * input.shape[3]
    grouped = input.reshape(num_images, num_groups, channels // num_groups, num_cells)
    shape = (*grouped.shape[:3], num_taps, num_locations)
    samples = input.new_zeros(shape)
    for cells, weights in zip(corners.cells, corners.weights, strict=True):
        indices = cells.flatten(2)[:, :, None].expand(-1, -1, shape[2], -1)
        samples = samples + grouped.gather(3, indices).view(shape) * weights[:, :, None]
    return samples


def deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Output (N, O, P, Q); arguments as in `layers.modulated_deform_conv`, without the bias."""
    kernel_hw = (weight.shape[2], weight.shape[3])
    y, x = _positions(offset, kernel_hw, stride, padding, dilation)
    samples = _sample(input, _corners(y, x, (input.shape[2], input.shape[3])))
    if mask is not None:
        samples = samples * mask.reshape(y.shape)[:, :, None]
    num_outputs, group_channels = weight.shape[:2]
    num_groups = input.shape[1] // group_channels
    fan_in = group_channels * y.shape[2]
    columns = samples.reshape(len(input), num_groups, fan_in, y.shape[3])
    filters = weight.reshape(num_groups, num_outputs // num_groups, fan_in)
    return (filters @ columns).reshape(len(input), num_outputs, *offset.shape[2:])
