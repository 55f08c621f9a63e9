"""Deformable position-sensitive RoI pooling: schemas, shape functions, derivative."""

from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Gradients, Inputs, Operator

_Settings: TypeAlias = tuple[int | float, ...]


class _Context(Protocol):
    settings: _Settings
    saved_tensors: tuple[Tensor, Tensor, Tensor | None]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


def _fake_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    spatial_scale: float,
    output_channels: int,
    pooled_size: int,
    *rest: int | float,
) -> Tensor:
    del offset, spatial_scale, rest
    return input.new_empty(rois.shape[0], output_channels, pooled_size, pooled_size)


def _fake_backward(
    grad: Tensor, input: Tensor, rois: Tensor, offset: Tensor | None, *settings: int | float
) -> tuple[Tensor, Tensor]:
    del rois, settings
    return grad.new_empty(input.shape), grad.new_empty((0,) if offset is None else offset.shape)


def _save_forward(ctx: _Context, inputs: Inputs, output: Tensor) -> None:
    del output
    input, rois, offset, *settings = inputs
    ctx.save_for_backward(input, rois, offset)
    ctx.settings = tuple(settings)


def _differentiate_forward(ctx: _Context, grad: Tensor) -> Gradients:
    input, rois, offset = ctx.saved_tensors
    grad_input, grad_offset = torch.ops.centermask.deform_psroi_pooling_backward(
        grad, input, rois, offset, *ctx.settings
    )
    of_offset = None if offset is None else grad_offset
    return grad_input, None, of_offset, *(None for _ in ctx.settings)


def _refuse_second_derivative(ctx: _Context, *grads: Tensor) -> Gradients:
    del ctx, grads
    raise NotImplementedError("deform_psroi_pooling has no second derivative")


_SETTINGS = (
    "float spatial_scale, SymInt output_channels, SymInt pooled_size, int group_size,"
    " SymInt part_size, int samples_per_part, float offset_scale"
)

OPERATORS = (
    Operator(
        name="deform_psroi_pooling",
        schema=f"(Tensor input, Tensor rois, Tensor? offset, {_SETTINGS}) -> Tensor",
        reference=_reference.deform_psroi_pooling,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=_save_forward,
        in_float32=True,
        atomic_backward=True,
    ),
    Operator(
        name="deform_psroi_pooling_backward",
        schema=(
            f"(Tensor grad, Tensor input, Tensor rois, Tensor? offset, {_SETTINGS})"
            " -> (Tensor, Tensor)"
        ),
        reference=_reference.deform_psroi_pooling_backward,
        fake=_fake_backward,
        backward=_refuse_second_derivative,
    ),
)
