"""Attention blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialAttention(nn.Module):
    """Weights each position of a feature map by what its channels say on average and at most.

    Source: CenterMask (Lee & Park 2020), section 3.3, eq. 3 (SAM of the SAG-Mask branch).

    Args:
        init_std: standard deviation of the weights at the start; 0 takes PyTorch's initialisation,
            as published. Of features that are as large as the mask head's at its start the sigmoid
            is then 0 almost everywhere for most seeds, and nothing behind it learns.
    """

    def __init__(self, init_std: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=3, padding=1, bias=False)
        if init_std > 0:
            nn.init.normal_(self.conv.weight, std=init_std)

    def forward(self, x: Tensor) -> Tensor:
        """Attended features, the shape (R, C, M, M) of the input."""
        mean = x.mean(dim=1, keepdim=True)
        peak = _greatest(x)
        attention = torch.sigmoid(self.conv(torch.cat((mean, peak), dim=1)))
        return x * attention


def _greatest(x: Tensor) -> Tensor:
    """(R, 1, M, M) the greatest channel of each cell."""
    if torch.is_grad_enabled():
        # Not amax: of equal channels (zeros after ReLU) only one receives the gradient.
        return x.max(dim=1, keepdim=True).values
    # In half the time, as nobody asks which one it was.
    return x.amax(dim=1, keepdim=True)


class EffectiveSqueezeExcitation(nn.Module):
    """Weights each channel of a feature map by what all its channels are on average.

    Source: CenterMask (Lee & Park 2020), section 3.4 (eSE of VoVNetV2): of the two layers of
    squeeze-and-excitation one remains, so that no channel is lost on the way, and the sigmoid is
    the piecewise linear relu6(x + 3) / 6.

    Args:
        channels: number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Attended features, the shape (N, C, H, W) of the input."""
        return x * F.hardsigmoid(self.fc(x.mean(dim=(2, 3), keepdim=True)))
