"""Plain PyTorch twins of the focal loss operators.

Shape symbols: L locations, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers._reference.checks import (
    check_dtype,
    check_floating,
    check_shape,
    first_refused,
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
