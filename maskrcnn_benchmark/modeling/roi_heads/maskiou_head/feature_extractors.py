"""Features of the mask-IoU head (Mask Scoring R-CNN, arXiv 1903.00241, section 3.2).

Shapes: R rois, F feature channels, M mask side (the roi features are M / 2 wide).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.make_layers import init_kaiming_normal, make_conv, make_fc
from maskrcnn_benchmark.modeling.registry import ROI_MASKIOU_FEATURE_EXTRACTORS

_FC_FEATURES = 1024


class MaskIoUFeatureExtractor(nn.Module):
    """Roi features and the predicted mask, through convolutions and two linear layers.

    Args:
        in_channels: F.
        conv_channels: output channels of each 3x3 convolution; the last one has stride 2.
        pooled_side: side M / 2 of the roi features, px.
    """

    def __init__(self, *, in_channels: int, conv_channels: Sequence[int], pooled_side: int) -> None:
        super().__init__()
        self.conv_names = [f"maskiou_fcn{i}" for i in range(1, len(conv_channels) + 1)]
        channels = in_channels + 1
        for name, next_channels in zip(self.conv_names, conv_channels, strict=True):
            stride = 2 if name == self.conv_names[-1] else 1
            conv = make_conv(
                channels, next_channels, kernel_size=3, stride=stride, init=init_kaiming_normal
            )
            self.add_module(name, conv)
            channels = next_channels
        flat_features = channels * ((pooled_side + 1) // 2) ** 2
        self.maskiou_fc1 = make_fc(flat_features, _FC_FEATURES)
        self.maskiou_fc2 = make_fc(_FC_FEATURES, _FC_FEATURES)
        self.out_channels = _FC_FEATURES

    def forward(self, pooled: Tensor, masks: Tensor) -> Tensor:
        """(R, 1024) of roi features (R, F, M / 2, M / 2) and masks (R, 1, M, M)."""
        x = torch.cat([pooled, F.max_pool2d(masks, kernel_size=2, stride=2)], dim=1)
        for name in self.conv_names:
            x = self.get_submodule(name)(x).relu_()
        x = self.maskiou_fc1(x.flatten(1)).relu_()
        features: Tensor = self.maskiou_fc2(x).relu_()
        return features


@ROI_MASKIOU_FEATURE_EXTRACTORS.register("MaskIoUFeatureExtractor")
def build_maskiou_feature_extractor(cfg: CfgNode, in_channels: int) -> MaskIoUFeatureExtractor:
    """The feature extractor that MODEL.ROI_MASKIOU_HEAD describes."""
    return MaskIoUFeatureExtractor(
        in_channels=in_channels,
        conv_channels=cfg.MODEL.ROI_MASKIOU_HEAD.CONV_LAYERS,
        pooled_side=cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION,
    )
