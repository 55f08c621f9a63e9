"""Backbones by name: a body, then a feature pyramid."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.modeling.backbone.fpn import FPN, LastLevelP6P7
from maskrcnn_benchmark.modeling.backbone.mobilenet import STAGE_CHANNELS, MobileNetV2
from maskrcnn_benchmark.modeling.backbone.resnet import BLOCKS_PER_STAGE, ResNet
from maskrcnn_benchmark.modeling.make_layers import GroupNormSettings, NormFactory, make_conv
from maskrcnn_benchmark.modeling.registry import BACKBONES


class Backbone(nn.Sequential):
    """A body and its pyramid; called with images (N, 3, H, W), it returns maps, finest first.

    Attributes:
        out_channels: channels of every returned map.
    """

    def __init__(self, *, body: nn.Module, fpn: FPN, out_channels: int) -> None:
        super().__init__(OrderedDict([("body", body), ("fpn", fpn)]))
        self.out_channels = out_channels


def _conv_block(
    in_channels: int, out_channels: int, kernel_size: int, *, norm: NormFactory | None, relu: bool
) -> nn.Module:
    return make_conv(in_channels, out_channels, kernel_size=kernel_size, norm=norm, relu=relu)


def _build_retinanet_fpn(cfg: CfgNode, body: nn.Module, body_channels: Sequence[int]) -> Backbone:
    """P3..P7 over C3..C5 (C2 is not used): the pyramid of RetinaNet, FCOS and CenterMask."""
    out_channels = cfg.MODEL.RESNETS.BACKBONE_OUT_CHANNELS
    norm = GroupNormSettings.from_config(cfg) if cfg.MODEL.FPN.USE_GN else None
    fpn = FPN(
        in_channels_list=[0, *body_channels[1:]],
        out_channels=out_channels,
        conv_block=partial(_conv_block, norm=norm, relu=cfg.MODEL.FPN.USE_RELU),
        top_blocks=LastLevelP6P7(
            c5_channels=body_channels[-1],
            out_channels=out_channels,
            use_c5=cfg.MODEL.RETINANET.USE_C5,
        ),
    )
    return Backbone(body=body, fpn=fpn, out_channels=out_channels)


@BACKBONES.register("R-50-FPN-RETINANET")
@BACKBONES.register("R-101-FPN-RETINANET")
def build_resnet_fpn_p3p7_backbone(cfg: CfgNode) -> Backbone:
    """ResNet or ResNeXt (by MODEL.RESNETS) with P3..P7."""
    depth = cfg.MODEL.BACKBONE.CONV_BODY.removesuffix("-FPN-RETINANET")
    body = ResNet.from_config(cfg, BLOCKS_PER_STAGE[depth])
    return _build_retinanet_fpn(cfg, body, body.out_channels_per_stage)


@BACKBONES.register("MNV2-FPN-RETINANET")
def build_mnv2_fpn_backbone(cfg: CfgNode) -> Backbone:
    """MobileNetV2 with P3..P7."""
    return _build_retinanet_fpn(cfg, MobileNetV2.from_config(cfg), STAGE_CHANNELS)


def build_backbone(cfg: CfgNode) -> nn.Module:
    """The backbone that MODEL.BACKBONE.CONV_BODY names.

    It has `.out_channels` and maps images (N, 3, H, W) to a tuple of feature maps, finest first.

    Raises:
        ConfigError: if no backbone of that name is registered.
    """
    backbone: nn.Module = BACKBONES[cfg.MODEL.BACKBONE.CONV_BODY](cfg)
    return backbone
