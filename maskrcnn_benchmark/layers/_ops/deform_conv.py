"""Deformable convolution.

Shape symbols: N images, C input channels, O output channels, H x W input map, P x Q output map,
K = kernel height x kernel width taps, G groups, D deformable groups, L = P x Q locations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_floating, check_shape
from maskrcnn_benchmark.layers._ops.operator import (
    Context,
    Gradients,
    Operator,
    keep_inputs,
    no_second_derivative,
)


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
    """Where one call samples its input; ``grouped`` is the input as (N, D, C / D, H W)."""

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


def output_hw(input: Tensor, weight: Tensor, geometry: Sequence[Sequence[int]]) -> list[int]:
    """Sides of the output; raises unless there is one."""
    for name, pair, least in zip(
        ("stride", "padding", "dilation"), geometry, (1, 0, 1), strict=True
    ):
        if len(pair) != 2 or min(pair) < least:
            raise ValueError(f"{name}: expected two numbers of at least {least}, got {tuple(pair)}")
    check_shape("input", input, (None,) * 4)
    check_shape("weight", weight, (None,) * 4)
    channels, (num_outputs, group_channels, *kernel_hw) = input.shape[1], weight.shape
    fits = channels and group_channels and channels % group_channels == 0 and min(kernel_hw) > 0
    if not fits or num_outputs % (channels // group_channels):
        wanted = f"at least one tap and groups that divide {channels} input channels"
        raise ValueError(f"weight: expected {wanted}, got {tuple(weight.shape)}")
    sides = zip(input.shape[2:], kernel_hw, *geometry, strict=True)
    made = [(a + 2 * pad - by * (k - 1) - 1) // step + 1 for a, k, step, pad, by in sides]
    # One by one: the least of them would tie a traced graph to the order of its sides.
    if any(side < 1 for side in (*made, *input.shape[2:])):
        got = f"{tuple(input.shape[2:])}, which gives {tuple(made)}"
        raise ValueError(f"input: expected a map that gives at least one output, got {got}")
    return made


def _sampling(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    geometry: tuple[Sequence[int], ...],
) -> _Sampling:
    made_hw = output_hw(input, weight, geometry)
    check_floating("input", input)
    num_taps = weight.shape[2] * weight.shape[3]
    check_shape("offset", offset, (len(input), None, *made_hw))
    num_parts, rest = divmod(offset.shape[1], 2 * num_taps)
    if rest or num_parts < 1 or input.shape[1] % num_parts:
        wanted = f"{2 * num_taps} maps for each part of the channels"
        raise ValueError(f"offset: expected {wanted}, got {tuple(offset.shape)}")
    check_dtype("offset", offset, input.dtype)
    check_dtype("weight", weight, input.dtype)
    if mask is not None:
        check_shape("mask", mask, (len(input), num_taps * num_parts, *made_hw))
        check_dtype("mask", mask, input.dtype)
    num_images, channels, height, width = input.shape
    y, x = _positions(offset, weight.shape[2:], *geometry)
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
    input: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, *geometry: Sequence[int]
) -> Tensor:
    """Output (N, O, P, Q); arguments as in ``layers.modulated_deform_conv``, without the bias.

    The geometry is stride, padding and dilation, two numbers each.
    """
    sampling = _sampling(input, offset, mask, weight, geometry)
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
    *geometry: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, offset, mask (empty without one) and weight."""
    sampling = _sampling(input, offset, mask, weight, geometry)
    check_shape("grad", grad, (len(input), len(weight), *offset.shape[2:]))
    check_dtype("grad", grad, input.dtype)
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


def _fake_forward(
    input: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, *_: Sequence[int]
) -> Tensor:
    del mask
    return input.new_empty(input.shape[0], weight.shape[0], *offset.shape[2:])


def _fake_backward(
    grad: Tensor, input: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, *_: object
) -> tuple[Tensor, ...]:
    shapes = input.shape, offset.shape, (0,) if mask is None else mask.shape, weight.shape
    return tuple(grad.new_empty(shape) for shape in shapes)


def _differentiate_forward(ctx: Context, grad: Tensor) -> Gradients:
    input, offset, mask, weight = ctx.saved_tensors
    grad_input, grad_offset, grad_mask, grad_weight = torch.ops.centermask.deform_conv_backward(
        grad, input, offset, mask, weight, *ctx.settings
    )
    of_mask = None if mask is None else grad_mask
    return grad_input, grad_offset, of_mask, grad_weight, None, None, None


_GEOMETRY = "int[2] stride, int[2] padding, int[2] dilation"

OPERATORS = (
    Operator(
        name="deform_conv",
        schema=(
            f"(Tensor input, Tensor offset, Tensor? mask, Tensor weight, {_GEOMETRY}) -> Tensor"
        ),
        reference=deform_conv,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=keep_inputs(4),
        in_float32=True,
        atomic_backward=True,
    ),
    Operator(
        name="deform_conv_backward",
        schema=(
            "(Tensor grad, Tensor input, Tensor offset, Tensor? mask, Tensor weight,"
            f" {_GEOMETRY}) -> (Tensor, Tensor, Tensor, Tensor)"
        ),
        reference=deform_conv_backward,
        fake=_fake_backward,
        backward=no_second_derivative("deform_conv"),
        in_float32=True,  # its products of matrices would leave float32 otherwise
    ),
)
