"""Features of the keypoint head.

Shapes: R rois, F feature channels, M side of the pooled map, D channels of the last convolution.
"""

from collections.abc import Sequence

from torch import Tensor

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.make_layers import init_kaiming_normal, make_conv
from maskrcnn_benchmark.modeling.poolers import Pooler, make_pooler
from maskrcnn_benchmark.modeling.registry import ROI_KEYPOINT_FEATURE_EXTRACTORS
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor


class KeypointRCNNFeatureExtractor(ROIFeatureExtractor):
    """RoIAlign and a stack of 3x3 convolutions with ReLU.

    Source: Mask R-CNN (arXiv 1703.06870), section 5.

    Args:
        pooler: pyramid maps and boxes -> (R, F, M, M).
        in_channels: F.
        conv_channels: output channels of each convolution; the last one is D.
    """

    def __init__(self, *, pooler: Pooler, in_channels: int, conv_channels: Sequence[int]) -> None:
        super().__init__(pooler=pooler, out_channels=[in_channels, *conv_channels][-1])
        self.conv_names = [f"conv_fcn{i}" for i in range(1, len(conv_channels) + 1)]
        channels = in_channels
        for name, next_channels in zip(self.conv_names, conv_channels, strict=True):
            conv = make_conv(channels, next_channels, kernel_size=3, init=init_kaiming_normal)
            self.add_module(name, conv)
            channels = next_channels

    def encode(self, pooled: Tensor) -> Tensor:
        """Features (R, D, M, M) of pooled maps (R, F, M, M)."""
        x = pooled
        for name in self.conv_names:
            x = self.get_submodule(name)(x).relu()
        return x


@ROI_KEYPOINT_FEATURE_EXTRACTORS.register("KeypointRCNNFeatureExtractor")
def build_keypoint_rcnn(cfg: CfgNode, in_channels: int) -> KeypointRCNNFeatureExtractor:
    """The convolutions that MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS lists."""
    return KeypointRCNNFeatureExtractor(
        pooler=make_pooler(cfg, "ROI_KEYPOINT_HEAD"),
        in_channels=in_channels,
        conv_channels=cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS,
    )
