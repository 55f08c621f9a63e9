"""RoIAlign: schemas, shape functions, derivatives."""

from typing import Protocol

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Gradients, Inputs, Operator


class _Context(Protocol):
    spatial_scale: float
    sampling_ratio: int
    aligned: bool
    input_shape: torch.Size
    pooled_hw: torch.Size
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


# Arguments that equal their defaults are not handed to Python functions.
def _fake_forward(
    input: Tensor,
    rois: Tensor,
    scale: float,
    pooled_height: int,
    pooled_width: int,
    ratio: int,
    aligned: bool = False,
) -> Tensor:
    del scale, ratio, aligned
    return input.new_empty(rois.shape[0], input.shape[1], pooled_height, pooled_width)


def _fake_backward(
    grad: Tensor,
    rois: Tensor,
    scale: float,
    n: int,
    c: int,
    h: int,
    w: int,
    ratio: int,
    aligned: bool = False,
) -> Tensor:
    del rois, scale, ratio, aligned
    return grad.new_empty(n, c, h, w)


def _save_forward(ctx: _Context, inputs: Inputs, output: Tensor) -> None:
    del output
    input, rois, ctx.spatial_scale, _, _, ctx.sampling_ratio, ctx.aligned = inputs
    ctx.save_for_backward(rois)
    ctx.input_shape = input.shape


def _differentiate_forward(ctx: _Context, grad: Tensor) -> Gradients:
    (rois,) = ctx.saved_tensors
    shape, scale, ratio = ctx.input_shape, ctx.spatial_scale, ctx.sampling_ratio
    grad_input = torch.ops.centermask.roi_align_backward(
        grad, rois, scale, *shape, ratio, ctx.aligned
    )
    return grad_input, None, None, None, None, None, None


def _save_backward(ctx: _Context, inputs: Inputs, output: Tensor) -> None:
    del output
    grad, rois, ctx.spatial_scale, _, _, _, _, ctx.sampling_ratio, ctx.aligned = inputs
    ctx.save_for_backward(rois)
    ctx.pooled_hw = grad.shape[2:]


def _differentiate_backward(ctx: _Context, grad: Tensor) -> Gradients:
    # Both directions are linear and transposes of each other.
    (rois,) = ctx.saved_tensors
    scale, ratio = ctx.spatial_scale, ctx.sampling_ratio
    grad_grad = torch.ops.centermask.roi_align(
        grad, rois, scale, *ctx.pooled_hw, ratio, ctx.aligned
    )
    return grad_grad, None, None, None, None, None, None, None, None


OPERATORS = (
    Operator(
        name="roi_align",
        schema=(
            "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,"
            " SymInt pooled_width, int sampling_ratio, bool aligned=False) -> Tensor"
        ),
        reference=_reference.roi_align,
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
        reference=_reference.roi_align_backward,
        fake=_fake_backward,
        backward=_differentiate_backward,
        setup_context=_save_backward,
    ),
)
