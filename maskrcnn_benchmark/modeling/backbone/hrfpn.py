"""Feature pyramid of HRNet (Wang et al., arXiv 1908.07919, section 3.3, HRNetV2p).

Shapes: N images, Ci channels of body map i, F pyramid channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.make_layers import init_kaiming_uniform


class HRFPN(nn.Module):
    """Five maps from all body maps together: joined at the finest, mixed, averaged, smoothed.

    Args:
        in_channels_list: channels Ci of the body's maps, finest first.
        out_channels: channels F of every pyramid map.
        stride: of the last convolutions; 1 begins with the body's finest stride, 2 with its double.
        num_levels: number of pyramid maps.
    """

    def __init__(
        self,
        *,
        in_channels_list: Sequence[int],
        out_channels: int,
        stride: int,
        num_levels: int = 5,
    ) -> None:
        super().__init__()
        self.in_channels_list = list(in_channels_list)
        self.stride = stride
        self.reduction_conv = nn.Conv2d(sum(in_channels_list), out_channels, kernel_size=1)
        self.fpn_convs = nn.ModuleList(
            nn.Conv2d(out_channels, out_channels, kernel_size=3, stride=stride, padding=1)
            for _ in range(num_levels)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_kaiming_uniform(module)

    def strides(self, body_strides: Sequence[int]) -> tuple[int, ...]:
        """Strides (px per cell) of the pyramid's maps over body maps of these strides."""
        finest = body_strides[0] * self.stride
        return tuple(finest * 2**level for level in range(len(self.fpn_convs)))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Pyramid maps (N, F, Hi, Wi), finest first, each half the size of the one before."""
        joined = self._join(features)
        pyramid = []
        for level, conv in enumerate(self.fpn_convs):
            side = 2**level
            # Windows that end outside the map average what they have, so sizes are rounded up.
            averaged = F.avg_pool2d(joined, kernel_size=side, stride=side, ceil_mode=True)
            pyramid.append(conv(averaged))
        return tuple(pyramid)

    def _join(self, features: Sequence[Tensor]) -> Tensor:
        """The 1x1 convolution of all maps, enlarged to the finest and put on one another.

        Both are linear and neither mixes what the other does, so each map goes through its own
        columns of the convolution first: the same, at a fraction of the time and memory.
        """
        size_hw = features[0].shape[-2:]
        weights = torch.split(self.reduction_conv.weight, self.in_channels_list, dim=1)
        joined = F.conv2d(features[0], weights[0], self.reduction_conv.bias)
        for feature, weight in zip(features[1:], weights[1:], strict=True):
            mixed = F.conv2d(feature, weight)
            joined = torch.add(joined, F.interpolate(mixed, size=size_hw, mode="bilinear"))
        return joined
