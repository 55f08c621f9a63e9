"""Backbones by name: a body, and what makes one map or a feature pyramid of its maps.

A name is that of the body with an ending: "-FPN" for P2..P6 (strides 4 to 64: two-stage models),
"-FPN-RETINANET" for P3..P7 (strides 8 to 128: one-stage models), "-FPN-YOLACT" and
"-FPN-SHAPEMASK" for YOLACT's and ShapeMask's P3..P7, "-FPN-P2P7" for P2..P7 (strides 4 to 128:
TensorMask), "-C4" and "-C5" for the one map of that stage.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.weight_settings import STRIDE_IN_1X1, WEIGHT_KEYS
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.backbone.darknet import DarkNet
from maskrcnn_benchmark.modeling.backbone.fpn import (
    FPN,
    LastLevelMaxPool,
    LastLevelP6P7,
    TopDown,
    add_bilinear,
    add_nearest,
    mean_nearest,
)
from maskrcnn_benchmark.modeling.backbone.hrfpn import HRFPN
from maskrcnn_benchmark.modeling.backbone.hrnet import WIDTHS as HRNET_WIDTHS
from maskrcnn_benchmark.modeling.backbone.hrnet import HRNet
from maskrcnn_benchmark.modeling.backbone.mobilenet import MobileNetV2
from maskrcnn_benchmark.modeling.backbone.resnet import BLOCKS_PER_STAGE, ResNet
from maskrcnn_benchmark.modeling.backbone.vovnet import VOVNETS, VoVNet
from maskrcnn_benchmark.modeling.fbnet import backbone as _fbnet  # noqa: F401  # registers its backbone
from maskrcnn_benchmark.modeling.make_layers import (
    BatchNormSettings,
    init_xavier_uniform,
    make_conv,
    make_norm,
)
from maskrcnn_benchmark.modeling.registry import BACKBONES
from maskrcnn_benchmark.modeling.strides import Level

BodyBuilder = Callable[[CfgNode], Body]


class LastMap(nn.Module):
    """Passes on the coarsest map alone, for models without a pyramid."""

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor]:
        """The last of the maps."""
        return (features[-1],)


class Backbone(nn.Sequential):
    """A body and its pyramid; called with images (N, 3, H, W), it returns maps, finest first.

    Args:
        body: the network.
        fpn: makes the pyramid; None returns the body's last map.
        out_channels: channels of every returned map.

    Attributes:
        levels: channels and stride of every returned map.
    """

    def __init__(self, *, body: Body, fpn: FPN | HRFPN | None, out_channels: int) -> None:
        neck = ("last_map", LastMap()) if fpn is None else ("fpn", fpn)
        super().__init__(OrderedDict([("body", body), neck]))
        self.out_channels = out_channels
        strides = body.strides[-1:] if fpn is None else fpn.strides(body.strides)
        self.levels = tuple(Level(out_channels, stride) for stride in strides)


_FUSE_TYPES: Mapping[str, TopDown] = {"sum": add_nearest, "avg": mean_nearest}


def _make_pyramid(
    cfg: CfgNode,
    body: Body,
    in_channels_list: Sequence[int],
    out_channels: int,
    top_blocks: LastLevelMaxPool | LastLevelP6P7,
) -> Backbone:
    norm = make_norm(cfg, cfg.MODEL.FPN)
    fuse_type = cfg.MODEL.FPN.FUSE_TYPE
    if fuse_type not in _FUSE_TYPES:
        expected = ", ".join(_FUSE_TYPES)
        raise ConfigError(f"MODEL.FPN.FUSE_TYPE: expected one of {expected}, got {fuse_type!r}")
    fpn = FPN(
        in_channels_list=in_channels_list,
        out_channels=out_channels,
        conv_block=partial(
            make_conv,
            norm=norm,
            bias=norm is None or cfg.MODEL.FPN.BIAS_BEFORE_NORM,
            relu=cfg.MODEL.FPN.USE_RELU,
        ),
        top_blocks=top_blocks,
        top_down=_FUSE_TYPES[fuse_type],
    )
    return Backbone(body=body, fpn=fpn, out_channels=out_channels)


def build_p2p6_backbone(cfg: CfgNode, *, build_body: BodyBuilder, family: str) -> Backbone:
    """P2..P6 over C2..C5: the pyramid of Faster and Mask R-CNN.

    ``family`` is the section of MODEL whose BACKBONE_OUT_CHANNELS counts.
    """
    body = build_body(cfg)
    out_channels = cfg.MODEL[family].BACKBONE_OUT_CHANNELS
    return _make_pyramid(cfg, body, body.out_channels_per_stage, out_channels, LastLevelMaxPool())


def build_p3p7_backbone(cfg: CfgNode, *, build_body: BodyBuilder, family: str) -> Backbone:
    """P3..P7 over C3..C5 (C2 is not used): the pyramid of RetinaNet, FCOS and CenterMask.

    ``family`` is the section of MODEL whose BACKBONE_OUT_CHANNELS counts.
    """
    body = build_body(cfg)
    _, *used_channels = body.out_channels_per_stage
    out_channels = cfg.MODEL[family].BACKBONE_OUT_CHANNELS
    use_c5 = cfg.MODEL.RETINANET.USE_C5
    top = LastLevelP6P7(c5_channels=used_channels[-1], out_channels=out_channels, use_c5=use_c5)
    return _make_pyramid(cfg, body, [0, *used_channels], out_channels, top)


def build_p2p7_backbone(cfg: CfgNode, *, build_body: BodyBuilder, family: str) -> Backbone:
    """P2..P7 over C2..C5, P6 from C5: the pyramid of TensorMask.

    ``family`` is the section of MODEL whose BACKBONE_OUT_CHANNELS counts.
    """
    body = build_body(cfg)
    channels = body.out_channels_per_stage
    out_channels = cfg.MODEL[family].BACKBONE_OUT_CHANNELS
    top = LastLevelP6P7(c5_channels=channels[-1], out_channels=out_channels, use_c5=True)
    return _make_pyramid(cfg, body, channels, out_channels, top)


def build_yolact_backbone(cfg: CfgNode, *, build_body: BodyBuilder, family: str) -> Backbone:
    """P3..P7 over C3..C5 as YOLACT has them (arXiv 1904.02689, section 5).

    Coarser maps are resized bilinearly, a ReLU follows the 3x3 convolutions, and none lies between
    P5, P6 and P7. ``family`` is the section of MODEL whose BACKBONE_OUT_CHANNELS counts.
    """
    body = build_body(cfg)
    _, *used_channels = body.out_channels_per_stage
    out_channels = cfg.MODEL[family].BACKBONE_OUT_CHANNELS
    conv = partial(make_conv, init=init_xavier_uniform)
    fpn = FPN(
        in_channels_list=[0, *used_channels],
        out_channels=out_channels,
        conv_block=conv,
        layer_block=partial(conv, relu=True),
        top_blocks=LastLevelP6P7(
            c5_channels=used_channels[-1],
            out_channels=out_channels,
            use_c5=False,
            relu=False,
            init=init_xavier_uniform,
        ),
        top_down=add_bilinear,
    )
    return Backbone(body=body, fpn=fpn, out_channels=out_channels)


def build_shapemask_backbone(cfg: CfgNode, *, build_body: BodyBuilder, family: str) -> Backbone:
    """P3..P7 over C3..C5 as ShapeMask has them: in the end each map has a norm of its own.

    ``family`` is the section of MODEL whose BACKBONE_OUT_CHANNELS counts.
    """
    body = build_body(cfg)
    _, *used_channels = body.out_channels_per_stage
    out_channels = cfg.MODEL[family].BACKBONE_OUT_CHANNELS
    fpn = FPN(
        in_channels_list=[0, *used_channels],
        out_channels=out_channels,
        conv_block=partial(make_conv, init=init_xavier_uniform),
        top_blocks=LastLevelP6P7(
            c5_channels=used_channels[-1],
            out_channels=out_channels,
            use_c5=False,
            pads_at_the_end=True,
            init=init_xavier_uniform,
        ),
        norms=BatchNormSettings.from_config(cfg),
    )
    return Backbone(body=body, fpn=fpn, out_channels=out_channels)


def build_one_map_backbone(cfg: CfgNode, *, build_body: BodyBuilder) -> Backbone:
    """The last map of the body, with the body's own number of channels."""
    body = build_body(cfg)
    # UPSTREAM(own-channels): there MODEL.RESNETS.BACKBONE_OUT_CHANNELS was believed, whose default
    # fits C4 and not C5.
    return Backbone(body=body, fpn=None, out_channels=body.out_channels_per_stage[-1])


def build_hrfpn_backbone(cfg: CfgNode, *, width: int, stride: int) -> Backbone:
    """HRNet with its own pyramid: P2..P6 (stride 1) or P3..P7 (stride 2).

    Raises:
        ConfigError: if the settings ask for another pyramid.
    """
    kind = cfg.MODEL.HRNET.FPN.TYPE
    if kind != "HRFPN":
        raise ConfigError(f"MODEL.HRNET.FPN.TYPE: expected 'HRFPN', got {kind!r}")
    for key in ("USE_GN", "USE_RELU"):
        if cfg.MODEL.FPN[key]:
            raise ConfigError(f"MODEL.FPN.{key}: expected False with an HRNet, got True")
    body = HRNet.from_config(cfg, width)
    out_channels = cfg.MODEL.HRNET.FPN.OUT_CHANNEL
    fpn = HRFPN(
        in_channels_list=body.out_channels_per_stage, out_channels=out_channels, stride=stride
    )
    return Backbone(body=body, fpn=fpn, out_channels=out_channels)


def _register_hrnet(width: int) -> None:
    # The original knows P3..P7 alone, without an ending.
    for ending, stride in (("-FPN", 1), ("-FPN-RETINANET", 2), ("", 2)):
        builder = partial(build_hrfpn_backbone, width=width, stride=stride)
        BACKBONES.register(f"HRNET-W{width}{ending}", builder)


_PYRAMIDS: Mapping[str, Callable[..., Backbone]] = {
    "FPN": build_p2p6_backbone,
    "FPN-RETINANET": build_p3p7_backbone,
    "FPN-YOLACT": build_yolact_backbone,
    "FPN-SHAPEMASK": build_shapemask_backbone,
    "FPN-P2P7": build_p2p7_backbone,
}


def _register_pyramids(name: str, build_body: BodyBuilder, family: str) -> None:
    for ending, build in _PYRAMIDS.items():
        builder = partial(build, build_body=build_body, family=family)
        BACKBONES.register(f"{name}-{ending}", builder)


def _build_resnet_of_pyramid(cfg: CfgNode, *, depth: str) -> ResNet:
    dilation = cfg.MODEL.RESNETS.RES5_DILATION
    # UPSTREAM(dilated-body): there bodies ignored the key, and only the head of C4 models read it.
    if dilation != 1:
        raise ConfigError(
            "MODEL.RESNETS.RES5_DILATION: expected 1 with a feature pyramid, whose strides are "
            f"powers of two; got {dilation}"
        )
    return ResNet.from_config(cfg, BLOCKS_PER_STAGE[depth])


def _register_resnet(depth: str) -> None:
    """ResNet or, by MODEL.RESNETS, ResNeXt."""
    _register_pyramids(depth, partial(_build_resnet_of_pyramid, depth=depth), "RESNETS")
    for ending, num_stages in (("C4", 3), ("C5", 4)):
        blocks = BLOCKS_PER_STAGE[depth][:num_stages]
        build_body = partial(ResNet.from_config, blocks_per_stage=blocks)
        builder = partial(build_one_map_backbone, build_body=build_body)
        BACKBONES.register(f"{depth}-{ending}", builder)
    for ending in (*_PYRAMIDS, "C4", "C5"):
        WEIGHT_KEYS.register(f"{depth}-{ending}", (STRIDE_IN_1X1,))


for _depth in BLOCKS_PER_STAGE:
    _register_resnet(_depth)
for _name in VOVNETS:
    _register_pyramids(_name, partial(VoVNet.from_config, name=_name), "VOVNET")
for _width in HRNET_WIDTHS:
    _register_hrnet(_width)
_register_pyramids("MNV2", MobileNetV2.from_config, "RESNETS")
_register_pyramids("DARKNET-53", DarkNet.from_config, "RESNETS")


def build_backbone(cfg: CfgNode) -> nn.Module:
    """The backbone that MODEL.BACKBONE.CONV_BODY names.

    It has ``.out_channels`` and maps images (N, 3, H, W) to a tuple of feature maps, finest first;
    the shipped ones say channels and stride of every map in ``.levels``.

    Raises:
        ConfigError: if no backbone of that name is registered.
    """
    return BACKBONES.build(cfg.MODEL.BACKBONE.CONV_BODY, cfg)
