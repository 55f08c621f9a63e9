"""Features of the mask head.

Shapes: R rois, F feature channels, M side of the pooled map, D channels of the last convolution.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.layers import SpatialAttention
from maskrcnn_benchmark.modeling.make_layers import (
    NormFactory,
    init_kaiming_normal,
    make_conv,
    make_norm,
)
from maskrcnn_benchmark.modeling.poolers import Pooler, make_pooler
from maskrcnn_benchmark.modeling.registry import ROI_MASK_FEATURE_EXTRACTORS
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor


class MaskRCNNFPNFeatureExtractor(ROIFeatureExtractor):
    """RoIAlign, a stack of 3x3 convolutions and, for SAG-Mask, spatial attention.

    Source: CenterMask (arXiv 1911.06667), section 3.3, equations 3 and 4.

    Args:
        pooler: pyramid maps and boxes -> (R, F, M, M).
        in_channels: F.
        conv_channels: output channels of each convolution; the last one is D.
        dilation: of the convolutions.
        norm: normalisation of the convolutions, or None.
        attention: features -> features of the same shape; identity for plain Mask R-CNN.

    Attributes:
        conv_prefix: what names of the convolutions begin with.
    """

    conv_prefix: ClassVar[str] = "mask_fcn"

    def __init__(
        self,
        *,
        pooler: Pooler,
        in_channels: int,
        conv_channels: Sequence[int],
        dilation: int = 1,
        norm: NormFactory | None = None,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__(pooler=pooler, out_channels=[in_channels, *conv_channels][-1])
        self.spatialAtt = attention if attention is not None else nn.Identity()
        self.conv_names = [f"{self.conv_prefix}{i}" for i in range(1, len(conv_channels) + 1)]
        channels = in_channels
        for name, next_channels in zip(self.conv_names, conv_channels, strict=True):
            conv = make_conv(
                channels,
                next_channels,
                kernel_size=3,
                dilation=dilation,
                norm=norm,
                init=init_kaiming_normal,
            )
            self.add_module(name, conv)
            channels = next_channels

    def encode(self, pooled: Tensor) -> Tensor:
        """Features (R, D, M, M), after convolutions and attention, of maps (R, F, M, M)."""
        x = pooled
        for name in self.conv_names:
            x = self.get_submodule(name)(x).relu_()
        features: Tensor = self.spatialAtt(x)
        return features


def _build(
    cfg: CfgNode, in_channels: int, attention: nn.Module | None
) -> MaskRCNNFPNFeatureExtractor:
    head = cfg.MODEL.ROI_MASK_HEAD
    return MaskRCNNFPNFeatureExtractor(
        pooler=make_pooler(cfg, "ROI_MASK_HEAD"),
        in_channels=in_channels,
        conv_channels=head.CONV_LAYERS,
        dilation=head.DILATION,
        norm=make_norm(cfg, head),
        attention=attention,
    )


@ROI_MASK_FEATURE_EXTRACTORS.register("MaskRCNNFPNFeatureExtractor")
def build_mask_rcnn_fpn(cfg: CfgNode, in_channels: int) -> MaskRCNNFPNFeatureExtractor:
    """Mask R-CNN's feature extractor."""
    return _build(cfg, in_channels, attention=None)


@ROI_MASK_FEATURE_EXTRACTORS.register("MaskRCNNFPNSpatialAttentionFeatureExtractor")
def build_sag_mask(cfg: CfgNode, in_channels: int) -> MaskRCNNFPNFeatureExtractor:
    """CenterMask's feature extractor."""
    init_std = cfg.MODEL.ROI_MASK_HEAD.ATTENTION_INIT_STD
    return _build(cfg, in_channels, attention=SpatialAttention(init_std))
