"""RoIPool.

Shape symbols: R rois, N images, C channels, H x W feature map, P x Q pooled size.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import (
    check_dtype,
    check_pooled_grad,
    check_pooling,
    check_shape,
    first_refused,
)
from maskrcnn_benchmark.layers._ops.operator import Context, Gradients, Inputs, Operator


def round_half_away(x: Tensor) -> Tensor:
    """Whole numbers; halves go away from zero, unlike those of torch.round."""
    whole = x.trunc()
    return whole + torch.where((x - whole).abs() >= 0.5, x.sign(), 0.0)


def _cells(start: Tensor, end: Tensor, num_bins: int, length: int) -> tuple[Tensor, Tensor]:
    """First cell, and the one after the last, (R, num_bins), of each bin along one axis."""
    low = round_half_away(start)[:, None]
    bin_size = (round_half_away(end)[:, None] - low + 1).clamp(min=1) / num_bins
    bins = torch.arange(num_bins, device=start.device, dtype=start.dtype)
    begins, ends = (bins * bin_size).floor() + low, ((bins + 1) * bin_size).ceil() + low
    limit = float(length)
    return tuple(x.nan_to_num(nan=0.0).clamp(0.0, limit).long() for x in (begins, ends))  # type: ignore[return-value]


def roi_pool(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    """Pooled features and the cells they came from, both (R, C, P, Q); see ``layers.roi_pool``.

    A cell is row x W + column, -1 for an empty bin. One small reduction a bin: slow.
    """
    check_pooling(input, rois, pooled_height, pooled_width)
    _, channels, height, width = input.shape
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale).unbind(dim=1)
    row_ranges = torch.stack(_cells(y1, y2, pooled_height, height), dim=2).tolist()
    column_ranges = torch.stack(_cells(x1, x2, pooled_width, width), dim=2).tolist()
    output = input.new_zeros(len(rois), channels, pooled_height, pooled_width)
    argmax = torch.full_like(output, -1, dtype=torch.int64)
    for roi, image in enumerate(rois[:, 0].long().tolist()):
        for p, (top, bottom) in enumerate(row_ranges[roi]):
            for q, (left, right) in enumerate(column_ranges[roi]):
                if bottom <= top or right <= left or channels == 0:
                    continue
                best = input[image, :, top:bottom, left:right].flatten(1).max(dim=1)
                rows, columns = best.indices // (right - left), best.indices % (right - left)
                output[roi, :, p, q] = best.values
                argmax[roi, :, p, q] = (top + rows) * width + left + columns
    return output, argmax


def roi_pool_backward(
    grad: Tensor, rois: Tensor, argmax: Tensor, batch_size: int, height: int, width: int
) -> Tensor:
    """Gradient (N, C, H, W) of ``roi_pool`` with respect to its input."""
    check_pooled_grad(grad, rois, batch_size, None, height, width)
    _check_argmax(argmax, grad.shape, height * width)
    channels = grad.shape[1]
    output = grad.new_zeros(batch_size * channels * height * width)
    cells = cells_in_batch(rois, argmax, channels, height * width)
    output.scatter_add_(0, cells.flatten(), torch.where(argmax >= 0, grad, 0.0).flatten())
    return output.reshape(batch_size, channels, height, width)


def _check_argmax(argmax: Tensor, shape: torch.Size, num_cells: int) -> None:
    check_shape("argmax", argmax, shape)
    check_dtype("argmax", argmax, torch.int64)
    cells = argmax.flatten()
    place = first_refused((cells >= -1) & (cells < num_cells))
    if place is not None:
        wanted = f"cells in [-1, {num_cells})"
        raise ValueError(f"argmax: expected {wanted}, got {cells[place].item()}")


def cells_in_batch(rois: Tensor, argmax: Tensor, channels: int, num_cells: int) -> Tensor:
    """Places (R, C, P, Q) of the cells ``argmax`` in a flat batch; empty bins are at cell 0."""
    planes = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    return planes[:, :, None, None] * num_cells + argmax.clamp(min=0)


def _fake_forward(
    input: Tensor, rois: Tensor, scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    del scale
    output = input.new_empty(rois.shape[0], input.shape[1], pooled_height, pooled_width)
    return output, torch.empty_like(output, dtype=torch.int64)


def _fake_backward(grad: Tensor, rois: Tensor, argmax: Tensor, n: int, h: int, w: int) -> Tensor:
    del rois, argmax
    return grad.new_empty(n, grad.shape[1], h, w)


def _save_forward(ctx: Context, inputs: Inputs, output: tuple[Tensor, Tensor]) -> None:
    input, rois, *_ = inputs
    ctx.save_for_backward(rois, output[1])
    ctx.settings = input.shape


def _differentiate_forward(ctx: Context, grad: Tensor, of_argmax: Tensor) -> Gradients:
    del of_argmax
    rois, argmax = ctx.saved_tensors
    n, _, h, w = ctx.settings
    grad_input = torch.ops.centermask.roi_pool_backward(grad, rois, argmax, n, h, w)
    return grad_input, None, None, None, None


def _save_backward(ctx: Context, inputs: Inputs, output: Tensor) -> None:
    del output
    _, rois, argmax, *_ = inputs
    ctx.save_for_backward(rois, argmax)


def _differentiate_backward(ctx: Context, grad: Tensor) -> Gradients:
    # Every pooled value went to one cell: fetch what arrived there.
    rois, argmax = ctx.saved_tensors
    cells = cells_in_batch(rois, argmax, grad.shape[1], grad.shape[2] * grad.shape[3])
    values = grad.flatten()[cells] if grad.numel() else torch.zeros_like(argmax, dtype=grad.dtype)
    return torch.where(argmax >= 0, values, 0.0), None, None, None, None, None


OPERATORS = (
    Operator(
        name="roi_pool",
        schema=(
            "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,"
            " SymInt pooled_width) -> (Tensor, Tensor)"
        ),
        reference=roi_pool,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=_save_forward,
        in_float32=True,
        atomic_backward=True,
    ),
    Operator(
        name="roi_pool_backward",
        schema=(
            "(Tensor grad, Tensor rois, Tensor argmax, SymInt batch_size, SymInt height,"
            " SymInt width) -> Tensor"
        ),
        reference=roi_pool_backward,
        fake=_fake_backward,
        backward=_differentiate_backward,
        setup_context=_save_backward,
    ),
)
