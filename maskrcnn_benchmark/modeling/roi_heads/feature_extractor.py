"""What the feature extractors of all RoI heads have in common, and the one that two of them use.

Shapes: R rois, F feature channels, M side of the pooled map, D output channels.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.backbone.resnet import ResNetHead
from maskrcnn_benchmark.modeling.poolers import Pooler, make_pooler
from maskrcnn_benchmark.modeling.registry import (
    ROI_BOX_FEATURE_EXTRACTORS,
    ROI_MASK_FEATURE_EXTRACTORS,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList


class RoiFeatures(NamedTuple):
    """Features of all boxes of all images, in their order.

    Attributes:
        encoded: (R, D) or (R, D, M', M') what the layers of the head made of the pooled maps.
        pooled: (R, F, M, M).
    """

    encoded: Tensor
    pooled: Tensor


class ROIFeatureExtractor(nn.Module):
    """RoIAlign, then the layers of a head.

    A subclass adds its layers as ``head``, or under other names and defines ``encode``.

    Args:
        pooler: pyramid maps and boxes -> (R, F, M, M).
        out_channels: D, first dimension of what ``encode`` makes of a roi.

    Attributes:
        gives_maps: whether that is a map, not a vector, so that mask and keypoint heads can use it.
    """

    gives_maps: ClassVar[bool] = True
    head: nn.Module

    def __init__(self, *, pooler: Pooler, out_channels: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.out_channels = out_channels

    def encode(self, pooled: Tensor) -> Tensor:
        """Features (R, D) or (R, D, M', M') of pooled maps (R, F, M, M)."""
        features: Tensor = self.head(pooled)
        return features

    def extract(self, features: Sequence[Tensor], boxes: list[BoxList]) -> RoiFeatures:
        """Features of all boxes, and the maps that they come from.

        Args:
            features: pyramid maps, finest first.
            boxes: one BoxList an image, px of the resized image.
        """
        pooled: Tensor = self.pooler(features, boxes)
        return RoiFeatures(encoded=self.encode(pooled), pooled=pooled)

    def forward(self, features: Sequence[Tensor], boxes: list[BoxList]) -> Tensor:
        """The encoded features alone."""
        return self.extract(features, boxes).encoded


def extract_rois(
    extractor: nn.Module, features: Sequence[Tensor], boxes: list[BoxList]
) -> RoiFeatures:
    """What any extractor makes of boxes, as ``ROIFeatureExtractor.extract`` has it.

    Those of scripts return features, or features and the maps they come from, when they are called;
    without maps the features stand for them, too.
    """
    if isinstance(extractor, ROIFeatureExtractor):
        return extractor.extract(features, boxes)
    made = extractor(features, boxes)
    return RoiFeatures(*made) if isinstance(made, tuple) else RoiFeatures(made, made)


class ResNet50Conv5ROIFeatureExtractor(ROIFeatureExtractor):
    """The residual network's last stage, run on every roi (C4 models, of any depth).

    Source: Mask R-CNN (arXiv 1703.06870), section 3, "ResNet-C4".

    Args:
        pooler: maps and boxes -> (R, F, M, M).
        head: (R, F, M, M) -> (R, D, M / 2, M / 2), with the attribute ``out_channels``.
    """

    def __init__(self, *, pooler: Pooler, head: ResNetHead) -> None:
        super().__init__(pooler=pooler, out_channels=head.out_channels)
        self.head = head


@ROI_MASK_FEATURE_EXTRACTORS.register("ResNet50Conv5ROIFeatureExtractor")
@ROI_BOX_FEATURE_EXTRACTORS.register("ResNet50Conv5ROIFeatureExtractor")
def build_resnet_conv5(cfg: CfgNode, in_channels: int) -> ResNet50Conv5ROIFeatureExtractor:  # noqa: ARG001 - MODEL.RESNETS says it
    """The fifth stage that MODEL.RESNETS describes, on the box head's pooled maps.

    It is the same for boxes and masks, settings included.
    """
    return ResNet50Conv5ROIFeatureExtractor(
        pooler=make_pooler(cfg, "ROI_BOX_HEAD"), head=ResNetHead.from_config(cfg)
    )
