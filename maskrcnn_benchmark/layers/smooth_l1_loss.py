"""Smooth L1 (Huber) loss."""

import torch.nn.functional as F
from torch import Tensor


def smooth_l1_loss(
    input: Tensor, target: Tensor, beta: float = 1.0 / 9, size_average: bool = True
) -> Tensor:
    """Mean (or sum) over all elements, a scalar.

    An element at distance d costs d^2 / (2 beta) where d < beta, else d - beta / 2.

    Args:
        input: predictions, any shape.
        target: same shape.
        beta: width of the quadratic part, >= 0; 0 is the plain L1 loss.
        size_average: mean instead of sum; the mean of nothing is 0.

    Source: Fast R-CNN (Girshick 2015), eq. 3, with the width as a parameter.
    """
    total = F.smooth_l1_loss(input, target, beta=beta, reduction="sum")
    return total / max(input.numel(), 1) if size_average else total
