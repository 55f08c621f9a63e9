"""Sigmoid focal loss.

Shape symbols: L locations, C foreground classes.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import (
    ShowsArguments,
    check_floating,
    check_integers,
    check_shape,
    check_tensors,
)


def _check_weights(gamma: float, alpha: float) -> None:
    if not gamma >= 0:
        raise ValueError(f"gamma: expected at least 0, got {gamma}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected a number in [0, 1], got {alpha}")


def _check(logits: Tensor, targets: Tensor) -> None:
    check_tensors(logits=logits, targets=targets)
    check_floating(logits=logits)
    check_integers(targets=targets)
    check_shape("logits", logits, ("L", "C"))
    if targets.shape != logits.shape[:1]:
        wanted = f"({logits.shape[0]},), one class a location"
        raise ValueError(f"targets: expected shape {wanted}, got {tuple(targets.shape)}")


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    """Focal loss of every location and class, (L, C), in the type of the logits.

    -alpha_t (1 - p_t)^gamma log(p_t), computed in logarithms: finite for all finite logits.

    Args:
        logits: (L, C) floating. Half precision and autocast compute in float32.
        targets: (L,) integers: k is class k, in column k - 1; 0 is background (every column
            negative); -1 is ignored (loss and gradient 0).
        gamma: focusing exponent, >= 0.
        alpha: weight of positive entries, in [0, 1]; negative entries weigh 1 - alpha.

    Raises:
        ValueError: wrong shapes or types, gamma or alpha out of range.
        RuntimeError: target outside [-1, C], on the CPU (ValueError without compiled operators).

    Source: Focal Loss for Dense Object Detection (Lin et al. 2017), eq. 5.
    """
    _check(logits, targets)
    _check_weights(gamma, alpha)
    precise = logits if logits.dtype == torch.float64 else logits.float()
    loss: Tensor = torch.ops.centermask.sigmoid_focal_loss(
        precise, targets.long(), float(gamma), float(alpha)
    )
    return loss.to(logits.dtype)


class SigmoidFocalLoss(ShowsArguments):
    """Summed sigmoid focal loss; its derivative is computed in the same pass.

    Args:
        gamma: focusing exponent, >= 0.
        alpha: weight of positive entries, in [0, 1].
    """

    def __init__(self, gamma: float, alpha: float) -> None:
        super().__init__()
        _check_weights(gamma, alpha)
        self.gamma = float(gamma)
        self.alpha = float(alpha)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum over locations and classes, a scalar; arguments as in ``sigmoid_focal_loss``.

        In float32, or float64 if the logits are: in half precision the sum would overflow.
        """
        _check(logits, targets)
        precise = logits if logits.dtype == torch.float64 else logits.float()
        total: Tensor
        total, _ = torch.ops.centermask.sigmoid_focal_loss_sum(
            precise, targets.long(), self.gamma, self.alpha
        )
        return total
