"""Deformable convolution.

Shape symbols: N images, C input channels, O output channels, H x W input map, P x Q output map,
K = kernel height x kernel width taps, G groups, D deformable groups, L = P x Q locations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class _Corner(NamedTuple):
    """One of the four cells around every sample, each (N, D, K, L); zeros outside the map."""

    cells: Tensor
    weights: Tensor
    slopes_down: Tensor
    slopes_right: Tensor


def _positions(
    offset: Tensor,
    kernel_hw: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
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


def _corners(y: Tensor, x: Tensor, map_hw: Sequence[int]) -> list[_Corner]:
    height, width = map_hw
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    y, x = torch.where(inside, y, 0.0), torch.where(inside, x, 0.0)
    top, left = y.floor(), x.floor()
    corners = []
    for row, row_weight, down in ((top, 1 - (y - top), -1), (top + 1, y - top, 1)):
        for column, column_weight, right in ((left, 1 - (x - left), -1), (left + 1, x - left, 1)):
            counts = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            values = row * width + column, row_weight * column_weight
            slopes = down * column_weight, right * row_weight
            cells, *others = (torch.where(counts, each, 0.0) for each in (*values, *slopes))
            corners.append(_Corner(cells.long(), *others))
    return corners


class _Sampling(NamedTuple):
    """Where one call samples its input; `grouped` is the input as (N, D, C / D, H W)."""

    grouped: Tensor
    corners: list[_Corner]
    factors: Tensor

    def indices(self, corner: _Corner) -> Tensor:
        """Cells (N, D, C / D, K L) of one corner, for gathering and scattering."""
        return corner.cells.flatten(2)[:, :, None].expand(-1, -1, self.grouped.shape[2], -1)

    def values(self, corner: _Corner) -> Tensor:
        """What the input has there, (N, D, C / D, K, L)."""
        shape = (*self.grouped.shape[:3], *corner.cells.shape[2:])
        return self.grouped.gather(3, self.indices(corner)).view(shape)

    def samples(self) -> Tensor:
        """Interpolated values times modulation, (N, D, C / D, K, L)."""
        terms = (self.values(corner) * corner.weights[:, :, None] for corner in self.corners)
        return torch.stack(list(terms)).sum(dim=0) * self.factors


def _sampling(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    geometry: tuple[Sequence[int], Sequence[int], Sequence[int]],
) -> _Sampling:
    num_images, channels, height, width = input.shape
    y, x = _positions(offset, weight.shape[2:], *geometry)
    num_parts = y.shape[1]
    grouped = input.reshape(num_images, num_parts, channels // num_parts, height * width)
    factors = torch.ones_like(y) if mask is None else mask.reshape(y.shape)
    return _Sampling(grouped, _corners(y, x, (height, width)), factors[:, :, None])


def _as_matrices(weight: Tensor, channels: int) -> Tensor:
    """Weights as (G, O / G, C / G x K)."""
    num_outputs, group_channels, *kernel_hw = weight.shape
    num_groups = channels // group_channels
    fan_in = group_channels * kernel_hw[0] * kernel_hw[1]
    return weight.reshape(num_groups, num_outputs // num_groups, fan_in)


def deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Output (N, O, P, Q); arguments as in `layers.modulated_deform_conv`, without the bias."""
    sampling = _sampling(input, offset, mask, weight, (stride, padding, dilation))
    filters = _as_matrices(weight, input.shape[1])
    num_locations = offset.shape[2] * offset.shape[3]
    columns = sampling.samples().reshape(
        len(input), filters.shape[0], filters.shape[2], num_locations
    )
    output: Tensor = filters @ columns
    return output.reshape(len(input), weight.shape[0], *offset.shape[2:])


def deform_conv_backward(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, offset, mask (empty without one) and weight."""
    sampling = _sampling(input, offset, mask, weight, (stride, padding, dilation))
    filters = _as_matrices(weight, input.shape[1])
    samples = sampling.samples()
    num_groups, num_outputs, fan_in = filters.shape
    columns = samples.reshape(len(input), num_groups, fan_in, samples.shape[4])
    grad_output = grad.reshape(len(input), num_groups, num_outputs, samples.shape[4])
    grad_weight = (grad_output @ columns.transpose(2, 3)).sum(dim=0).reshape(weight.shape)
    grad_samples = (filters.transpose(1, 2) @ grad_output).reshape(samples.shape)
    modulated = grad_samples * sampling.factors
    grad_input = torch.zeros_like(sampling.grouped)
    down, right, plain = (torch.zeros_like(sampling.factors[:, :, 0]) for _ in range(3))
    for corner in sampling.corners:
        spread = (modulated * corner.weights[:, :, None]).flatten(3)
        grad_input.scatter_add_(3, sampling.indices(corner), spread)
        products = (grad_samples * sampling.values(corner)).sum(dim=2)
        plain += products * corner.weights
        down += products * corner.slopes_down
        right += products * corner.slopes_right
    shifts = torch.stack((down, right), dim=3) * sampling.factors[:, :, 0, :, None]
    grad_mask = grad.new_empty(0) if mask is None else plain.reshape(mask.shape)
    return grad_input.reshape(input.shape), shifts.reshape(offset.shape), grad_mask, grad_weight
