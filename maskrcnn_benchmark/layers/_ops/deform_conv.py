"""Deformable convolution: schemas, shape functions, derivative."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Gradients, Inputs, Operator

_FourTensors: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


class _Context(Protocol):
    geometry: tuple[Sequence[int], Sequence[int], Sequence[int]]
    saved_tensors: tuple[Tensor, Tensor, Tensor | None, Tensor]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


def _fake_forward(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    del mask, stride, padding, dilation
    return input.new_empty(input.shape[0], weight.shape[0], *offset.shape[2:])


def _fake_backward(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> _FourTensors:
    del stride, padding, dilation
    shapes = input.shape, offset.shape, (0,) if mask is None else mask.shape, weight.shape
    grad_input, grad_offset, grad_mask, grad_weight = (grad.new_empty(shape) for shape in shapes)
    return grad_input, grad_offset, grad_mask, grad_weight


def _save_forward(ctx: _Context, inputs: Inputs, output: Tensor) -> None:
    del output
    input, offset, mask, weight, *geometry = inputs
    ctx.save_for_backward(input, offset, mask, weight)
    ctx.geometry = (geometry[0], geometry[1], geometry[2])


def _differentiate_forward(ctx: _Context, grad: Tensor) -> Gradients:
    input, offset, mask, weight = ctx.saved_tensors
    grad_input, grad_offset, grad_mask, grad_weight = torch.ops.centermask.deform_conv_backward(
        grad, input, offset, mask, weight, *ctx.geometry
    )
    of_mask = None if mask is None else grad_mask
    return grad_input, grad_offset, of_mask, grad_weight, None, None, None


def _refuse_second_derivative(ctx: _Context, *grads: Tensor) -> Gradients:
    del ctx, grads
    raise NotImplementedError("deform_conv has no second derivative")


_GEOMETRY = "int[2] stride, int[2] padding, int[2] dilation"

OPERATORS = (
    Operator(
        name="deform_conv",
        schema=(
            f"(Tensor input, Tensor offset, Tensor? mask, Tensor weight, {_GEOMETRY}) -> Tensor"
        ),
        reference=_reference.deform_conv,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=_save_forward,
        in_float32=True,
        atomic_backward=True,
    ),
    Operator(
        name="deform_conv_backward",
        schema=(
            "(Tensor grad, Tensor input, Tensor offset, Tensor? mask, Tensor weight,"
            f" {_GEOMETRY}) -> (Tensor, Tensor, Tensor, Tensor)"
        ),
        reference=_reference.deform_conv_backward,
        fake=_fake_backward,
        backward=_refuse_second_derivative,
        in_float32=True,  # its products of matrices would leave float32 otherwise
    ),
)
