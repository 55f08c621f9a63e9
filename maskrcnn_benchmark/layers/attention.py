"""Attention blocks."""

import torch
from torch import Tensor, nn


class SpatialAttention(nn.Module):
    """Weights each position of a feature map by what its channels say on average and at most.

    Source: CenterMask (Lee & Park 2020), section 3.3, eq. 3 (SAM of the SAG-Mask branch).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attended features, the shape (R, C, M, M) of the input."""
        mean = x.mean(dim=1, keepdim=True)
        # max and not amax: of equal channels (zeros after ReLU) only one receives the gradient.
        peak = x.max(dim=1, keepdim=True).values
        attention = torch.sigmoid(self.conv(torch.cat((mean, peak), dim=1)))
        return x * attention
