"""What the feature extractors of all RoI heads have in common.

Shapes: R rois, F feature channels, M side of the pooled map, D output channels.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList


class ROIFeatureExtractor(nn.Module):
    """RoIAlign, then the layers of a head.

    A subclass adds its layers and defines ``encode``.

    Args:
        pooler: pyramid maps and boxes -> (R, F, M, M).
        out_channels: D, first dimension of what ``encode`` makes of a roi.

    Attributes:
        gives_maps: whether that is a map, not a vector, so that mask and keypoint heads can use it.
    """

    gives_maps: ClassVar[bool] = True

    def __init__(self, *, pooler: Pooler, out_channels: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.out_channels = out_channels

    def encode(self, pooled: Tensor) -> Tensor:
        """Features (R, D) or (R, D, M', M') of pooled maps (R, F, M, M)."""
        raise NotImplementedError

    def forward(self, features: Sequence[Tensor], proposals: list[BoxList]) -> Tensor:
        """Features of all proposals of all images, R rois in their order.

        Args:
            features: pyramid maps, finest first.
            proposals: one BoxList an image, px of the resized image.
        """
        return self.encode(self.pooler(features, proposals))
