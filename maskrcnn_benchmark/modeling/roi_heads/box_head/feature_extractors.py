"""Features of the box head.

Shapes: R rois, F feature channels, M side of the pooled map, D output channels.
"""

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.make_layers import (
    NormFactory,
    init_normal,
    make_conv,
    make_fc,
    make_norm,
)
from maskrcnn_benchmark.modeling.poolers import Pooler, make_pooler
from maskrcnn_benchmark.modeling.registry import ROI_BOX_FEATURE_EXTRACTORS
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor

_CONV_INIT_STD = 0.01


class FPN2MLPFeatureExtractor(ROIFeatureExtractor):
    """Two fully connected layers with ReLU.

    Source: FPN (Lin et al. 2017), section 4.2.

    Args:
        pooler: pyramid maps and boxes -> (R, F, M, M).
        in_channels: F.
        pooled_side: M.
        hidden_features: D, of both layers.
        norm: normalisation after each layer, which then has no bias; or None.
    """

    gives_maps = False

    def __init__(
        self,
        *,
        pooler: Pooler,
        in_channels: int,
        pooled_side: int,
        hidden_features: int,
        norm: NormFactory | None = None,
    ) -> None:
        super().__init__(pooler=pooler, out_channels=hidden_features)
        self.fc6 = make_fc(in_channels * pooled_side**2, hidden_features, norm)
        self.fc7 = make_fc(hidden_features, hidden_features, norm)

    def encode(self, pooled: Tensor) -> Tensor:
        """Features (R, D) of pooled maps (R, F, M, M)."""
        hidden = self.fc6(pooled.flatten(1)).relu_()
        features: Tensor = self.fc7(hidden).relu_()
        return features


class FPNXconv1fcFeatureExtractor(ROIFeatureExtractor):
    """Some 3x3 convolutions with ReLU, then one fully connected layer with ReLU.

    Source: Group Normalization (Wu and He 2018), section 4.2, the "4conv1fc" head.

    Args:
        pooler: pyramid maps and boxes -> (R, F, M, M).
        in_channels: F.
        pooled_side: M.
        num_convs: number of convolutions.
        conv_channels: output channels of each of them.
        dilation: of the convolutions.
        hidden_features: D, width of the fully connected layer.
        norm: normalisation of the convolutions (the fully connected layer has none), or None.
    """

    gives_maps = False

    def __init__(
        self,
        *,
        pooler: Pooler,
        in_channels: int,
        pooled_side: int,
        num_convs: int,
        conv_channels: int,
        dilation: int,
        hidden_features: int,
        norm: NormFactory | None = None,
    ) -> None:
        super().__init__(pooler=pooler, out_channels=hidden_features)
        layers: list[nn.Module] = []
        channels = in_channels
        for _ in range(num_convs):
            block = make_conv(
                channels,
                conv_channels,
                kernel_size=3,
                dilation=dilation,
                norm=norm,
                relu=True,
                init=_init_conv,
            )
            # Flat, because checkpoints number convolutions, norms and ReLUs in one row.
            layers.extend(block.children())
            channels = conv_channels
        self.xconvs = nn.Sequential(*layers)
        self.fc6 = make_fc(channels * pooled_side**2, hidden_features)

    def encode(self, pooled: Tensor) -> Tensor:
        """Features (R, D) of pooled maps (R, F, M, M)."""
        features: Tensor = self.fc6(self.xconvs(pooled).flatten(1)).relu_()
        return features


def _init_conv(conv: nn.Conv2d) -> None:
    init_normal(conv, _CONV_INIT_STD)


@ROI_BOX_FEATURE_EXTRACTORS.register("FPN2MLPFeatureExtractor")
def build_fpn_2mlp(cfg: CfgNode, in_channels: int) -> FPN2MLPFeatureExtractor:
    """Two fully connected layers of MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM features."""
    head = cfg.MODEL.ROI_BOX_HEAD
    return FPN2MLPFeatureExtractor(
        pooler=make_pooler(cfg, "ROI_BOX_HEAD"),
        in_channels=in_channels,
        pooled_side=head.POOLER_RESOLUTION,
        hidden_features=head.MLP_HEAD_DIM,
        norm=make_norm(cfg, head),
    )


@ROI_BOX_FEATURE_EXTRACTORS.register("FPNXconv1fcFeatureExtractor")
def build_fpn_xconv1fc(cfg: CfgNode, in_channels: int) -> FPNXconv1fcFeatureExtractor:
    """NUM_STACKED_CONVS convolutions and one fully connected layer, as MODEL.ROI_BOX_HEAD says."""
    head = cfg.MODEL.ROI_BOX_HEAD
    return FPNXconv1fcFeatureExtractor(
        pooler=make_pooler(cfg, "ROI_BOX_HEAD"),
        in_channels=in_channels,
        pooled_side=head.POOLER_RESOLUTION,
        num_convs=head.NUM_STACKED_CONVS,
        conv_channels=head.CONV_HEAD_DIM,
        dilation=head.DILATION,
        hidden_features=head.MLP_HEAD_DIM,
        norm=make_norm(cfg, head),
    )
