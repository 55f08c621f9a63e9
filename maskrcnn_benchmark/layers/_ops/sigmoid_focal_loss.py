"""Focal loss: schemas, shape functions, derivative."""

from typing import Protocol

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Gradients, Inputs, Operator


class _Context(Protocol):
    gamma: float
    alpha: float
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...
    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...
    def set_materialize_grads(self, value: bool) -> None: ...


def _fake_forward(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    del targets, gamma, alpha
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _fake_backward(
    grad: Tensor, logits: Tensor, targets: Tensor, gamma: float, alpha: float
) -> Tensor:
    del grad
    return _fake_forward(logits, targets, gamma, alpha)


def _save_forward(ctx: _Context, inputs: Inputs, output: Tensor) -> None:
    del output
    logits, targets, ctx.gamma, ctx.alpha = inputs
    ctx.save_for_backward(logits, targets)


def _differentiate_forward(ctx: _Context, grad: Tensor) -> Gradients:
    logits, targets = ctx.saved_tensors
    backward = torch.ops.centermask.sigmoid_focal_loss_backward
    return backward(grad, logits, targets, ctx.gamma, ctx.alpha), None, None, None


def _fake_sum(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> tuple[Tensor, Tensor]:
    return logits.new_empty(()), _fake_forward(logits, targets, gamma, alpha)


def _save_sum(ctx: _Context, inputs: Inputs, output: tuple[Tensor, Tensor]) -> None:
    logits, targets, ctx.gamma, ctx.alpha = inputs
    slopes = output[1]
    ctx.mark_non_differentiable(slopes)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, targets, slopes)


def _differentiate_sum(ctx: _Context, grad: Tensor | None, _: Tensor | None) -> Gradients:
    if grad is None:
        return None, None, None, None
    logits, targets, slopes = ctx.saved_tensors
    if not torch.is_grad_enabled():
        return grad * slopes, None, None, None
    # The graph of a second derivative: through the operator that refuses it.
    backward = torch.ops.centermask.sigmoid_focal_loss_backward
    scale = grad.expand(logits.shape)
    return backward(scale, logits, targets, ctx.gamma, ctx.alpha), None, None, None


def _refuse_second_derivative(ctx: _Context, grad: Tensor) -> Gradients:
    del ctx, grad
    raise NotImplementedError("sigmoid_focal_loss has no second derivative")


OPERATORS = (
    Operator(
        name="sigmoid_focal_loss",
        schema="(Tensor logits, Tensor targets, float gamma, float alpha) -> Tensor",
        reference=_reference.sigmoid_focal_loss,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=_save_forward,
        in_float32=True,  # focal weights leave the range of half precision
    ),
    Operator(
        name="sigmoid_focal_loss_sum",
        schema=("(Tensor logits, Tensor targets, float gamma, float alpha) -> (Tensor, Tensor)"),
        reference=_reference.sigmoid_focal_loss_sum,
        fake=_fake_sum,
        backward=_differentiate_sum,
        setup_context=_save_sum,
        in_float32=True,
    ),
    Operator(
        name="sigmoid_focal_loss_backward",
        schema="(Tensor grad, Tensor logits, Tensor targets, float gamma, float alpha) -> Tensor",
        reference=_reference.sigmoid_focal_loss_backward,
        fake=_fake_backward,
        backward=_refuse_second_derivative,
    ),
)
