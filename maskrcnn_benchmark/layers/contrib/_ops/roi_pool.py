"""RoIPool: schemas, shape functions, derivatives."""

from typing import Protocol

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Gradients, Inputs, Operator
from maskrcnn_benchmark.layers.contrib._reference.roi_pool import cells_in_batch


class _Context(Protocol):
    input_shape: torch.Size
    saved_tensors: tuple[Tensor, Tensor]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


def _fake_forward(
    input: Tensor, rois: Tensor, scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    del scale
    output = input.new_empty(rois.shape[0], input.shape[1], pooled_height, pooled_width)
    return output, torch.empty_like(output, dtype=torch.int64)


def _fake_backward(grad: Tensor, rois: Tensor, argmax: Tensor, n: int, h: int, w: int) -> Tensor:
    del rois, argmax
    return grad.new_empty(n, grad.shape[1], h, w)


def _save_forward(ctx: _Context, inputs: Inputs, output: tuple[Tensor, Tensor]) -> None:
    input, rois, *_ = inputs
    ctx.save_for_backward(rois, output[1])
    ctx.input_shape = input.shape


def _differentiate_forward(ctx: _Context, grad: Tensor, of_argmax: Tensor) -> Gradients:
    del of_argmax
    rois, argmax = ctx.saved_tensors
    n, _, h, w = ctx.input_shape
    grad_input = torch.ops.centermask.roi_pool_backward(grad, rois, argmax, n, h, w)
    return grad_input, None, None, None, None


def _save_backward(ctx: _Context, inputs: Inputs, output: Tensor) -> None:
    del output
    _, rois, argmax, *_ = inputs
    ctx.save_for_backward(rois, argmax)


def _differentiate_backward(ctx: _Context, grad: Tensor) -> Gradients:
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
        reference=_reference.roi_pool,
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
        reference=_reference.roi_pool_backward,
        fake=_fake_backward,
        backward=_differentiate_backward,
        setup_context=_save_backward,
    ),
)
