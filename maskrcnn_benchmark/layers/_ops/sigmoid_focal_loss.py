"""Sigmoid focal loss.

Shape symbols: L locations, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import (
    check_dtype,
    check_floating,
    check_shape,
    first_refused,
)
from maskrcnn_benchmark.layers._ops.operator import (
    Context,
    Gradients,
    Inputs,
    Operator,
    keep_inputs,
    no_second_derivative,
)


def _signs_and_weights(logits: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Sign +1 / -1 of positive / negative entries and their alpha weight, 0 where ignored."""
    check_shape("logits", logits, (None, None))
    check_floating("logits", logits)
    check_shape("targets", targets, (len(logits),))
    check_dtype("targets", targets, torch.int64)
    num_classes = logits.shape[1]
    row = first_refused((targets >= -1) & (targets <= num_classes))
    if row is not None:
        wanted = f"classes in [-1, {num_classes}]"
        raise ValueError(f"targets: expected {wanted}, got {targets[row].item()}")
    columns = torch.arange(1, num_classes + 1, device=logits.device)
    positive = targets[:, None] == columns
    # Of the logits' type from the start: the numbers alone would be rounded to float32.
    weights = torch.full_like(logits, 1.0 - alpha).masked_fill(positive, alpha)
    weights = weights * (targets >= 0)[:, None]
    return torch.where(positive, 1.0, -1.0).to(logits.dtype), weights


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    """Loss (L, C) of every location and class.

    With z = +-x (plus at the target class), p_t = sigmoid(z) and 1 - p_t = sigmoid(-z); in
    logarithms nothing overflows: loss = -alpha_t exp(gamma log(1 - p_t)) log(p_t).
    """
    signs, weights = _signs_and_weights(logits, targets, alpha)
    z = signs * logits
    loss = -weights * torch.exp(gamma * F.logsigmoid(-z)) * F.logsigmoid(z)
    return torch.where(weights > 0, loss, 0.0)


def sigmoid_focal_loss_sum(
    logits: Tensor, targets: Tensor, gamma: float, alpha: float
) -> tuple[Tensor, Tensor]:
    """Sum of ``sigmoid_focal_loss``, and its gradient (L, C) with respect to the logits."""
    # Through the dispatcher, for the kernels of the two on devices where this one has none.
    operators = torch.ops.centermask
    losses = operators.sigmoid_focal_loss(logits, targets, gamma, alpha)
    ones = logits.new_ones(()).expand(logits.shape)
    slopes = operators.sigmoid_focal_loss_backward(ones, logits, targets, gamma, alpha)
    return losses.sum(), slopes


def sigmoid_focal_loss_backward(
    grad: Tensor, logits: Tensor, targets: Tensor, gamma: float, alpha: float
) -> Tensor:
    """Gradient (L, C) of ``sigmoid_focal_loss`` with respect to the logits."""
    signs, weights = _signs_and_weights(logits, targets, alpha)
    check_shape("grad", grad, logits.shape)
    check_dtype("grad", grad, logits.dtype)
    z = signs * logits
    slope = torch.sigmoid(-z) - gamma * torch.sigmoid(z) * F.logsigmoid(z)
    derivative = -signs * weights * torch.exp(gamma * F.logsigmoid(-z)) * slope
    return grad * torch.where(weights > 0, derivative, 0.0)


def _fake_forward(logits: Tensor, *_: object) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _fake_backward(_: Tensor, logits: Tensor, *others: object) -> Tensor:
    return _fake_forward(logits, *others)


def _differentiate_forward(ctx: Context, grad: Tensor) -> Gradients:
    logits, targets = ctx.saved_tensors
    backward = torch.ops.centermask.sigmoid_focal_loss_backward
    return backward(grad, logits, targets, *ctx.settings), None, None, None


def _fake_sum(logits: Tensor, *others: object) -> tuple[Tensor, Tensor]:
    return logits.new_empty(()), _fake_forward(logits, *others)


def _save_sum(ctx: Context, inputs: Inputs, output: tuple[Tensor, Tensor]) -> None:
    logits, targets, *ctx.settings = inputs
    slopes = output[1]
    ctx.mark_non_differentiable(slopes)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, targets, slopes)


def _differentiate_sum(ctx: Context, grad: Tensor | None, _: Tensor | None) -> Gradients:
    if grad is None:
        return None, None, None, None
    logits, targets, slopes = ctx.saved_tensors
    if not torch.is_grad_enabled():
        return grad * slopes, None, None, None
    # The graph of a second derivative: through the operator that refuses it.
    backward = torch.ops.centermask.sigmoid_focal_loss_backward
    scale = grad.expand(logits.shape)
    return backward(scale, logits, targets, *ctx.settings), None, None, None


OPERATORS = (
    Operator(
        name="sigmoid_focal_loss",
        schema="(Tensor logits, Tensor targets, float gamma, float alpha) -> Tensor",
        reference=sigmoid_focal_loss,
        fake=_fake_forward,
        backward=_differentiate_forward,
        setup_context=keep_inputs(2),
        in_float32=True,  # focal weights leave the range of half precision
    ),
    Operator(
        name="sigmoid_focal_loss_sum",
        schema="(Tensor logits, Tensor targets, float gamma, float alpha) -> (Tensor, Tensor)",
        reference=sigmoid_focal_loss_sum,
        fake=_fake_sum,
        backward=_differentiate_sum,
        setup_context=_save_sum,
        in_float32=True,
    ),
    Operator(
        name="sigmoid_focal_loss_backward",
        schema="(Tensor grad, Tensor logits, Tensor targets, float gamma, float alpha) -> Tensor",
        reference=sigmoid_focal_loss_backward,
        fake=_fake_backward,
        backward=no_second_derivative("sigmoid_focal_loss"),
    ),
)
