"""RoIAlign.

Shape symbols: R rois, N images, C channels, H x W feature map, P x Q pooled size.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import (
    check_pooled_grad,
    check_pooling,
    check_sampling_ratio,
)
from maskrcnn_benchmark.layers._ops.operator import Context, Gradients, Inputs, Operator

# Rois pooled at a time: bounds the maps of which one axis only is pooled.
_ROIS = 8

# More samples a bin can only come from corners that are no coordinates.
_MOST_SAMPLES = 2.0**20


def _axis_weights(
    start: Tensor, extent: Tensor, num_bins: int, length: int, sampling_ratio: int
) -> Tensor:
    """Weight (R, num_bins, length) of each pixel of one axis in each bin of each roi.

    Bilinear sampling on a regular grid is separable: the pooled map is
    (rows' weights) x (feature map) x (columns' weights) transposed.
    """
    bin_size = extent / num_bins
    if sampling_ratio > 0:
        samples_per_bin = torch.full_like(extent, sampling_ratio)
    else:
        sane = bin_size <= _MOST_SAMPLES
        # Without length or inverted, as only aligned rois are: no samples.
        samples_per_bin = torch.where(sane, bin_size.ceil().clamp(min=0.0), 1.0)
    max_samples = int(samples_per_bin.max()) if len(start) else 0
    bins = torch.arange(num_bins, device=start.device)[None, :, None]
    samples = torch.arange(max_samples, device=start.device)[None, None, :]
    per_bin, size = samples_per_bin[:, None, None], bin_size[:, None, None]
    coordinate = start[:, None, None] + bins * size + (samples + 0.5) * size / per_bin
    # Up to one pixel outside the map the border value counts, farther out nothing does.
    inside = (coordinate >= -1.0) & (coordinate <= length) & (samples < per_bin)
    coordinate = torch.where(inside, coordinate, 0.0).clamp(0.0, length - 1.0)
    low = coordinate.floor()
    divisor = per_bin.clamp(min=1.0)
    upper_weight = torch.where(inside, coordinate - low, 0.0) / divisor
    lower_weight = torch.where(inside, 1.0 - (coordinate - low), 0.0) / divisor
    low_inds = low.long()
    weights = coordinate.new_zeros(len(start), num_bins, length)
    weights.scatter_add_(2, low_inds, lower_weight)
    return weights.scatter_add_(2, (low_inds + 1).clamp(max=length - 1), upper_weight)


def _roi_weights(
    rois: Tensor,
    spatial_scale: float,
    pooled_hw: tuple[int, int],
    map_hw: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Tensor, Tensor]:
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    x1y1, x2y2 = corners[:, :2], corners[:, 2:]
    extents = x2y2 - x1y1 if aligned else (x2y2 - x1y1).clamp(min=1.0)
    columns, rows = (
        _axis_weights(x1y1[:, i], extents[:, i], pooled_hw[1 - i], map_hw[1 - i], sampling_ratio)
        for i in range(2)
    )
    return rows, columns


def _chunks_by_image(rois: Tensor, num_images: int) -> Iterator[tuple[int, Tensor]]:
    for image in range(num_images):
        members = (rois[:, 0].long() == image).nonzero().squeeze(1)
        for chunk in torch.split(members, _ROIS):
            if len(chunk):
                yield image, chunk


def roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool = False,
) -> Tensor:
    """Pooled features (R, C, P, Q); arguments as in ``layers.roi_align``."""
    precise = input.float() if input.dtype == torch.bfloat16 else input
    check_pooling(precise, rois, pooled_height, pooled_width)
    check_sampling_ratio(sampling_ratio)
    num_images, num_channels, height, width = input.shape
    pooled_hw = (pooled_height, pooled_width)
    rows, columns = _roi_weights(
        rois, spatial_scale, pooled_hw, (height, width), sampling_ratio, aligned
    )
    output = precise.new_zeros(len(rois), num_channels, *pooled_hw)
    for image, members in _chunks_by_image(rois, num_images):
        partial = torch.einsum("rph,chw->rcpw", rows[members], precise[image])
        output[members] = torch.einsum("rcpw,rqw->rcpq", partial, columns[members])
    return output.to(input.dtype)


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool = False,
) -> Tensor:
    """Gradient (N, C, H, W) of ``roi_align`` with respect to its input."""
    check_pooled_grad(grad, rois, batch_size, channels, height, width)
    check_sampling_ratio(sampling_ratio)
    pooled_hw = (grad.shape[2], grad.shape[3])
    rows, columns = _roi_weights(
        rois, spatial_scale, pooled_hw, (height, width), sampling_ratio, aligned
    )
    output = grad.new_zeros(batch_size, channels, height, width)
    for image, members in _chunks_by_image(rois, batch_size):
        partial = torch.einsum("rcpq,rqw->rcpw", grad[members], columns[members])
        output[image] += torch.einsum("rcpw,rph->chw", partial, rows[members])
    return output


def _fake_forward(
    input: Tensor, rois: Tensor, scale: float, height: int, width: int, *_: int
) -> Tensor:
    del scale
    return input.new_empty(rois.shape[0], input.shape[1], height, width)


def _fake_backward(
    grad: Tensor, rois: Tensor, scale: float, n: int, c: int, h: int, w: int, *_: int
) -> Tensor:
    del rois, scale
    return grad.new_empty(n, c, h, w)


def _save_forward(ctx: Context, inputs: Inputs, output: Tensor) -> None:
    del output
    input, rois, scale, _, _, ratio, aligned = inputs
    ctx.save_for_backward(rois)
    ctx.settings = scale, input.shape, ratio, aligned


def _differentiate_forward(ctx: Context, grad: Tensor) -> Gradients:
    (rois,) = ctx.saved_tensors
    scale, shape, ratio, aligned = ctx.settings
    grad_input = torch.ops.centermask.roi_align_backward(
        grad.to(rois.dtype), rois, scale, *shape, ratio, aligned
    )
    return grad_input.to(grad.dtype), None, None, None, None, None, None


def _save_backward(ctx: Context, inputs: Inputs, output: Tensor) -> None:
    del output
    grad, rois, scale, _, _, _, _, ratio, aligned = inputs
    ctx.save_for_backward(rois)
    ctx.settings = scale, grad.shape[2:], ratio, aligned


def _differentiate_backward(ctx: Context, grad: Tensor) -> Gradients:
    # Both directions are linear and transposes of each other.
    (rois,) = ctx.saved_tensors
    scale, pooled_hw, ratio, aligned = ctx.settings
    grad_grad = torch.ops.centermask.roi_align(grad, rois, scale, *pooled_hw, ratio, aligned)
    return grad_grad, None, None, None, None, None, None, None, None


OPERATORS = (
    Operator(
        name="roi_align",
        schema=(
            "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,"
            " SymInt pooled_width, int sampling_ratio, bool aligned=False) -> Tensor"
        ),
        reference=roi_align,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=_save_forward,
        in_float32=True,
        atomic_backward=True,
    ),
    Operator(
        name="roi_align_backward",
        schema=(
            "(Tensor grad, Tensor rois, float spatial_scale, SymInt batch_size, SymInt channels,"
            " SymInt height, SymInt width, int sampling_ratio, bool aligned=False) -> Tensor"
        ),
        reference=roi_align_backward,
        fake=_fake_backward,
        backward=_differentiate_backward,
        setup_context=_save_backward,
    ),
)
