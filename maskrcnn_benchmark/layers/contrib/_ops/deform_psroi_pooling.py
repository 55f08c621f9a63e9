"""Deformable position-sensitive RoI pooling.

Shape symbols: R rois, N images, C input channels, O output channels, H x W feature map, P bins
along each side, G cells of the group grid along each side, K classes, Z parts along each side,
S samples along each side of a bin.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import (
    MOST_SAMPLES_PER_BIN,
    check_dtype,
    check_floating,
    check_range,
    check_rois,
    check_shape,
    check_sides,
)
from maskrcnn_benchmark.layers._ops.operator import (
    Context,
    Gradients,
    Operator,
    keep_inputs,
    no_second_derivative,
)
from maskrcnn_benchmark.layers.contrib._ops.roi_pool import round_half_away

# Rois done at a time: bounds the samples that are held at once.
_ROIS = 8

_LEAST_EXTENT = 0.1
_MOST = 2**20


class _Settings(NamedTuple):
    """Numbers of one call, in the order of the schema."""

    spatial_scale: float
    output_channels: int
    pooled_size: int
    group_size: int
    part_size: int
    samples_per_part: int
    offset_scale: float


class _Axis(NamedTuple):
    """One axis of some rois, (R,), in cells of the feature map."""

    start: Tensor
    extent: Tensor


class _Samples(NamedTuple):
    """Where some rois sample, per class: (R, K, P, P, S) along rows (y) and along columns (x)."""

    y: Tensor
    x: Tensor


class _Corners(NamedTuple):
    """Cells (4, R, O, P, P, S, S) in the flat batch around every sample, and where it lies."""

    cells: Tensor
    down: Tensor
    right: Tensor
    counts: Tensor


def _axis(low_px: Tensor, high_px: Tensor, scale: float) -> _Axis:
    start = round_half_away(low_px) * scale - 0.5
    end = (round_half_away(high_px) + 1) * scale - 0.5
    return _Axis(start, torch.where(end - start < _LEAST_EXTENT, _LEAST_EXTENT, end - start))


def _parts_of_bins(s: _Settings, device: torch.device) -> Tensor:
    """Part (P,) along one side that each bin belongs to."""
    return torch.arange(s.pooled_size, device=device) * s.part_size // s.pooled_size


def _axes(rois: Tensor, s: _Settings) -> tuple[_Axis, _Axis]:
    x1, y1, x2, y2 = rois[:, 1:].unbind(dim=1)
    return _axis(y1, y2, s.spatial_scale), _axis(x1, x2, s.spatial_scale)


def _samples(rois: Tensor, offset: Tensor | None, s: _Settings) -> _Samples:
    bins = torch.arange(s.pooled_size, device=rois.device, dtype=rois.dtype)
    steps = torch.arange(s.samples_per_part, device=rois.device, dtype=rois.dtype)
    parts = _parts_of_bins(s, rois.device)
    places = []
    # Offsets hold those to the right first.
    for axis, kind, at in zip(_axes(rois, s), (1, 0), ((-1, 1), (1, -1)), strict=True):
        bin_size = axis.extent / s.pooled_size
        step = bin_size / s.samples_per_part
        first = bins.view(at) * bin_size[:, None, None] + axis.start[:, None, None]
        first = first[:, None].expand(-1, -1, s.pooled_size, s.pooled_size)
        if offset is not None:
            shift = offset.reshape(len(rois), -1, 2, s.part_size, s.part_size)[:, :, kind]
            moved = shift[:, :, parts][:, :, :, parts] * s.offset_scale
            first = first + moved * axis.extent[:, None, None, None]
        places.append(first[..., None] + steps * step[:, None, None, None, None])
    return _Samples(*places)


def _between(place: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells before and after a place, how far it is between them, and whether it counts."""
    counts = (place >= -0.5) & (place <= length - 0.5)
    clamped = torch.where(counts, place, 0.0).clamp(0.0, length - 1.0)
    low = clamped.floor()
    return low.long(), clamped.ceil().long(), clamped - low, counts


def _corners(input: Tensor, rois: Tensor, offset: Tensor | None, s: _Settings) -> _Corners:
    samples = _samples(rois, offset, s)
    repeats = s.output_channels // samples.y.shape[1]
    rows, columns = _between(samples.y, input.shape[2]), _between(samples.x, input.shape[3])
    top, bottom, down, in_rows = (x.repeat_interleave(repeats, dim=1)[..., None] for x in rows)
    left, right_cell, right, in_columns = (
        x.repeat_interleave(repeats, dim=1)[..., None, :] for x in columns
    )
    groups = torch.arange(s.pooled_size, device=rois.device) * s.group_size // s.pooled_size
    channels = torch.arange(s.output_channels, device=rois.device)[:, None, None]
    maps = (channels * s.group_size + groups[:, None]) * s.group_size + groups
    planes = rois[:, 0].long()[:, None, None, None] * input.shape[1] + maps
    first = planes[..., None, None] * (input.shape[2] * input.shape[3])
    cells = [first + y * input.shape[3] + x for y in (top, bottom) for x in (left, right_cell)]
    return _Corners(torch.stack(cells), down, right, in_rows & in_columns)


def _check(input: Tensor, rois: Tensor, offset: Tensor | None, s: _Settings) -> None:
    for name in ("output_channels", "pooled_size", "group_size", "part_size"):
        check_range(name, getattr(s, name), 1, _MOST)
    check_range("samples_per_part", s.samples_per_part, 1, MOST_SAMPLES_PER_BIN)
    channels = s.output_channels * s.group_size * s.group_size
    check_shape("input", input, (None, channels, None, None))
    check_floating("input", input)
    check_shape("rois", rois, (None, 5))
    check_dtype("rois", rois, input.dtype)
    check_rois(rois, len(input), (input.shape[2], input.shape[3]))
    check_sides("pooled_size", (len(rois), s.output_channels, s.pooled_size, s.pooled_size))
    if offset is None:
        return
    check_shape("offset", offset, (len(rois), None, s.part_size, s.part_size))
    check_dtype("offset", offset, input.dtype)
    num_classes, rest = divmod(offset.shape[1], 2)
    if rest or num_classes < 1 or s.output_channels % num_classes:
        wanted = f"two maps for each of some classes that divide {s.output_channels} channels"
        raise ValueError(f"offset: expected {wanted}, got {tuple(offset.shape)}")


def deform_psroi_pooling(
    input: Tensor, rois: Tensor, offset: Tensor | None, *settings: Any
) -> Tensor:
    """Pooled features (R, O, P, P); see ``layers.deform_roi_pooling``."""
    s = _Settings(*settings)
    _check(input, rois, offset, s)
    output = input.new_zeros(len(rois), s.output_channels, s.pooled_size, s.pooled_size)
    if output.numel() == 0:
        return output
    for rows in torch.split(torch.arange(len(rois), device=rois.device), _ROIS):
        corners = _corners(input, rois[rows], None if offset is None else offset[rows], s)
        a, b, c, d = input.reshape(-1)[corners.cells].unbind()
        upper = (1 - corners.right) * a + corners.right * b
        lower = (1 - corners.right) * c + corners.right * d
        values = torch.where(corners.counts, (1 - corners.down) * upper + corners.down * lower, 0.0)
        output[rows] = values.sum(dim=(4, 5)) / corners.counts.sum(dim=(4, 5)).clamp(min=1)
    return output


def deform_psroi_pooling_backward(
    grad: Tensor, input: Tensor, rois: Tensor, offset: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor]:
    """Gradients of input and offset (empty without one)."""
    s = _Settings(*settings)
    _check(input, rois, offset, s)
    check_shape("grad", grad, (len(rois), s.output_channels, s.pooled_size, s.pooled_size))
    check_dtype("grad", grad, input.dtype)
    grad_input = torch.zeros_like(input, memory_format=torch.contiguous_format)
    grad_offset = grad.new_zeros((0,) if offset is None else offset.shape)
    if grad.numel() == 0:
        return grad_input, grad_offset
    for rows in torch.split(torch.arange(len(rois), device=rois.device), _ROIS):
        corners = _corners(input, rois[rows], None if offset is None else offset[rows], s)
        count = corners.counts.sum(dim=(4, 5)).clamp(min=1)
        share = torch.where(corners.counts, (grad[rows] / count)[..., None, None], 0.0)
        down, right = corners.down, corners.right
        weights = (1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right
        for cells, weight in zip(corners.cells, weights, strict=True):
            places = cells.expand(share.shape)
            grad_input.view(-1).index_add_(0, places.reshape(-1), (share * weight).reshape(-1))
        if offset is None:
            continue
        a, b, c, d = input.reshape(-1)[corners.cells].unbind()
        to_right = share * ((1 - down) * (b - a) + down * (d - c))
        to_below = share * ((1 - right) * (c - a) + right * (d - b))
        grad_offset[rows] = _slopes((to_right, to_below), rois[rows], offset.shape, s)
    return grad_input, grad_offset


def _slopes(slopes: tuple[Tensor, Tensor], rois: Tensor, shape: torch.Size, s: _Settings) -> Tensor:
    """Gradient (R, 2 K, Z, Z) of the offsets from slopes (R, O, P, P, S, S) of the samples."""
    num_classes = shape[1] // 2
    parts = _parts_of_bins(s, rois.device)
    cells = (parts[:, None] * s.part_size + parts).reshape(-1)
    result = slopes[0].new_zeros(len(rois), num_classes, 2, s.part_size * s.part_size)
    down, right = _axes(rois, s)
    for kind, (slope, axis) in enumerate(zip(slopes, (right, down), strict=True)):
        bins = slope.sum(dim=(4, 5)).reshape(len(rois), num_classes, -1, s.pooled_size**2)
        # Rois whose extent is no number have no samples.
        extent = torch.where(axis.extent.isfinite(), axis.extent, 0.0)
        scaled = bins.sum(dim=2) * (extent * s.offset_scale)[:, None, None]
        result[:, :, kind].index_add_(2, cells, scaled)
    return result.reshape(len(rois), *shape[1:])


def _fake_forward(input: Tensor, rois: Tensor, _: Tensor | None, *settings: Any) -> Tensor:
    s = _Settings(*settings)
    return input.new_empty(rois.shape[0], s.output_channels, s.pooled_size, s.pooled_size)


def _fake_backward(
    grad: Tensor, input: Tensor, rois: Tensor, offset: Tensor | None, *_: object
) -> tuple[Tensor, Tensor]:
    del rois
    return grad.new_empty(input.shape), grad.new_empty((0,) if offset is None else offset.shape)


def _differentiate_forward(ctx: Context, grad: Tensor) -> Gradients:
    input, rois, offset = ctx.saved_tensors
    grad_input, grad_offset = torch.ops.centermask.deform_psroi_pooling_backward(
        grad, input, rois, offset, *ctx.settings
    )
    of_offset = None if offset is None else grad_offset
    return grad_input, None, of_offset, *(None for _ in ctx.settings)


_SETTINGS = (
    "float spatial_scale, SymInt output_channels, SymInt pooled_size, int group_size,"
    " SymInt part_size, int samples_per_part, float offset_scale"
)

OPERATORS = (
    Operator(
        name="deform_psroi_pooling",
        schema=f"(Tensor input, Tensor rois, Tensor? offset, {_SETTINGS}) -> Tensor",
        reference=deform_psroi_pooling,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=keep_inputs(3),
        in_float32=True,
        atomic_backward=True,
    ),
    Operator(
        name="deform_psroi_pooling_backward",
        schema=(
            f"(Tensor grad, Tensor input, Tensor rois, Tensor? offset, {_SETTINGS})"
            " -> (Tensor, Tensor)"
        ),
        reference=deform_psroi_pooling_backward,
        fake=_fake_backward,
        backward=no_second_derivative("deform_psroi_pooling"),
    ),
)
