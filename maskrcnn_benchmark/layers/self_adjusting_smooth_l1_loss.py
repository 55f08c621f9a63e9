"""Smooth L1 loss whose width follows the errors.

Shapes: P predictions, D coordinates.
"""

from typing import Final

import torch
from torch import Tensor, nn

_SMALLEST_BETA: Final = 1e-3


class SelfAdjustingSmoothL1Loss(nn.Module):
    """Summed smooth L1 loss with a width of its own for each coordinate.

    The width is the running mean of the absolute errors less their running variance, within
    [1e-3, beta]: as the errors shrink, so does the quadratic part.

    Source: RetinaMask (Fu et al., arXiv 1901.03353), section 3.2.

    Args:
        num_features: D.
        beta: largest width of the quadratic part, and the width at the start, > 0.
        momentum: weight of the newest batch in the running numbers, 0..1.

    Attributes:
        running_mean: (D,) buffer, starts at ``beta``.
        running_var: (D,) buffer, starts at 0.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, beta: float = 0.11, momentum: float = 0.1) -> None:
        super().__init__()
        self.beta = beta
        self.momentum = momentum
        self.register_buffer("running_mean", torch.full((num_features,), beta))
        self.register_buffer("running_var", torch.zeros(num_features))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Sum over all elements, a scalar; in training the running numbers are updated first.

        A batch whose variance is not a number, such as one of a single prediction, leaves them as
        they are.

        Args:
            input: predictions (P, D).
            target: (P, D).
        """
        error = (input - target).abs()
        if self.training and len(error) > 1:
            self._update(error.detach())
        width = (self.running_mean - self.running_var).clamp(_SMALLEST_BETA, self.beta)
        width = width.to(error)
        loss = torch.where(error < width, 0.5 * error**2 / width, error - 0.5 * width)
        return loss.sum()

    def _update(self, error: Tensor) -> None:
        variance, mean = torch.var_mean(error, dim=0)
        is_usable = ~variance.isnan().any()
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            mixed = torch.lerp(running, new.to(running), self.momentum)
            running.copy_(torch.where(is_usable, mixed, running))

    def extra_repr(self) -> str:
        """Arguments, for printing the module."""
        return f"beta={self.beta}, momentum={self.momentum}"
