"""VoVNetV2 bodies (Lee & Park, arXiv 1911.06667, section 3.4).

Shapes: N images, C input channels of a block, S channels of its 3x3 layers, O output channels.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import (
    EffectiveSqueezeExcitation,
    FrozenBatchNorm2d,
    NormSequential,
)
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.backbone.deformable import NOT_DEFORMABLE, DeformableSettings
from maskrcnn_benchmark.modeling.make_layers import GroupNormSettings, NormFactory


@dataclass(frozen=True, slots=True)
class VoVNetSpec:
    """What distinguishes one VoVNetV2 from another; stages are those of the maps C2..C5.

    Args:
        layers_per_block: 3x3 layers of an OSA block.
        blocks_per_stage: OSA blocks of each stage.
        stem_channels: channels of the three convolutions of the stem.
        layer_channels: channels S of the 3x3 layers of each stage.
        out_channels: channels O that the blocks of each stage return.
        is_depthwise: the 3x3 layers, and the second and third of the stem, are depthwise
            convolutions followed by pointwise ones.
    """

    layers_per_block: int
    blocks_per_stage: tuple[int, int, int, int]
    stem_channels: tuple[int, int, int] = (64, 64, 128)
    layer_channels: tuple[int, int, int, int] = (128, 160, 192, 224)
    out_channels: tuple[int, int, int, int] = (256, 512, 768, 1024)
    is_depthwise: bool = False


_SLIM_LAYERS = (64, 80, 96, 112)
_SLIM_OUTPUTS = (112, 256, 384, 512)
_DEPTHWISE_STEM = (64, 64, 64)
# The names that configurations use, less the name of the pyramid.
VOVNETS = {
    "V-19-slim-dw-eSE": VoVNetSpec(
        3, (1, 1, 1, 1), _DEPTHWISE_STEM, _SLIM_LAYERS, _SLIM_OUTPUTS, is_depthwise=True
    ),
    "V-19-dw-eSE": VoVNetSpec(3, (1, 1, 1, 1), _DEPTHWISE_STEM, is_depthwise=True),
    "V-19-slim-eSE": VoVNetSpec(
        3, (1, 1, 1, 1), layer_channels=_SLIM_LAYERS, out_channels=_SLIM_OUTPUTS
    ),
    "V-19-eSE": VoVNetSpec(3, (1, 1, 1, 1)),
    "V-39-eSE": VoVNetSpec(5, (1, 1, 2, 2)),
    "V-57-eSE": VoVNetSpec(5, (1, 1, 4, 3)),
    "V-99-eSE": VoVNetSpec(5, (1, 3, 9, 3)),
}


@dataclass(frozen=True, slots=True)
class _LayerFactory:
    """Makes the layers of one stage; ``name`` becomes a part of checkpoint keys.

    Args:
        norm: channels -> normalisation layer.
        is_depthwise: 3x3 layers are depthwise and pointwise convolutions.
        deformable: 3x3 layers are deformable convolutions of this kind.
    """

    norm: NormFactory
    is_depthwise: bool = False
    deformable: DeformableSettings | None = None

    def conv(
        self, name: str, in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1
    ) -> nn.Sequential:
        """A convolution, norm and ReLU."""
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
        )
        return self._with_norm(name, conv, out_channels)

    def _with_norm(self, name: str, conv: nn.Module, out_channels: int) -> nn.Sequential:
        return _named(name, conv=conv, norm=self.norm(out_channels), relu=nn.ReLU(inplace=True))

    def layer(
        self, name: str, in_channels: int, out_channels: int, *, stride: int = 1
    ) -> nn.Sequential:
        """A 3x3 layer of the kind of this stage, norm and ReLU."""
        if self.deformable is not None:
            conv = self.deformable.make_conv(in_channels, out_channels, stride=stride)
            return self._with_norm(name, conv, out_channels)
        if not self.is_depthwise:
            return self.conv(name, in_channels, out_channels, kernel_size=3, stride=stride)
        depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        )
        return _named(
            name,
            dw_conv3x3=depthwise,
            pw_conv1x1=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            pw_norm=self.norm(out_channels),
            pw_relu=nn.ReLU(inplace=True),
        )


def _named(name: str, **layers: nn.Module) -> nn.Sequential:
    """The layers in order, under the names of the original: "<name>/<key>"."""
    return NormSequential(OrderedDict((f"{name}/{key}", layer) for key, layer in layers.items()))


class OSABlock(nn.Module):
    """One-shot aggregation: layers in a row, all their outputs joined at once, then eSE.

    Args:
        name: the first part of the keys of its layers.
        in_channels, layer_channels, out_channels: C, S and O.
        num_layers: number of 3x3 layers.
        has_identity: the input is added to the result.
        factory: makes the layers.
    """

    def __init__(
        self,
        *,
        name: str,
        in_channels: int,
        layer_channels: int,
        out_channels: int,
        num_layers: int,
        has_identity: bool,
        factory: _LayerFactory,
    ) -> None:
        super().__init__()
        self.has_identity = has_identity
        self.conv_reduction: nn.Module | None = None
        first_channels = in_channels
        if factory.is_depthwise and in_channels != layer_channels:
            self.conv_reduction = factory.conv(
                f"{name}_reduction_0", in_channels, layer_channels, kernel_size=1
            )
            first_channels = layer_channels
        self.layers = nn.ModuleList(
            factory.layer(
                f"{name}_{index}", layer_channels if index else first_channels, layer_channels
            )
            for index in range(num_layers)
        )
        joined_channels = in_channels + num_layers * layer_channels
        self.concat = factory.conv(f"{name}_concat", joined_channels, out_channels, kernel_size=1)
        self.ese = EffectiveSqueezeExcitation(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Block output (N, O, H, W) of a map (N, C, H, W)."""
        outputs = [x]
        out: Tensor = x if self.conv_reduction is None else self.conv_reduction(x)
        for layer in self.layers:
            out = layer(out)
            outputs.append(out)
        out = self.ese(self.concat(torch.cat(outputs, dim=1)))
        return x + out if self.has_identity else out


class HalvingMaxPool(nn.Module):
    """3x3 stride-2 max-pooling whose windows begin at even cells and may end outside the map."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H // 2, W // 2), but no side less than 1, of a map (N, C, H, W)."""
        height, width = x.shape[-2:]
        if height == 1 or width == 1:
            # The rule for windows finds no place in one cell, which is its own maximum.
            x = x.expand(-1, -1, max(height, 2), max(width, 2))
        return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)


class VoVNet(Body):
    """The body without its classifier; maps C2..C5 have strides 4, 8, 16 and 32.

    Args:
        spec: depth and widths.
        norm: channels -> normalisation layer.
        deformable: which stages have deformable layers; none in a depthwise network.
        freeze_at: the first ``freeze_at`` of (stem, C2, C3, C4, C5) get no gradient.
    """

    def __init__(
        self,
        *,
        spec: VoVNetSpec,
        norm: NormFactory = FrozenBatchNorm2d,
        deformable: DeformableSettings = NOT_DEFORMABLE,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        factory = _LayerFactory(norm, spec.is_depthwise)
        self.stem = _make_stem(spec, factory)
        in_channels = spec.stem_channels[-1]
        # Stages are numbered as in the paper, whose first is the stem.
        self.stage_names = [f"stage{index + 2}" for index in range(len(spec.blocks_per_stage))]
        for index, name in enumerate(self.stage_names):
            kind = deformable if deformable.stages[index] else None
            stage = _make_stage(spec, index, in_channels, replace(factory, deformable=kind))
            self.add_module(name, stage)
            in_channels = spec.out_channels[index]
        self.out_channels_per_stage = spec.out_channels
        # UPSTREAM(random-offsets): as there, the convolutions that predict offsets of deformable
        # layers are drawn like all others, so that samples are displaced from the first step on.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        self.freeze_first(freeze_at, self.children())

    @classmethod
    def from_config(cls, cfg: CfgNode, name: str) -> "VoVNet":
        """The body ``name`` of VOVNETS with the norms and deformable stages of MODEL.VOVNET.

        Raises:
            ConfigError: if STAGE_WITH_DCN is not one flag a stage, or asks for deformable layers
                in a depthwise network.
        """
        use_group_norm = cfg.MODEL.VOVNET.USE_GN
        return cls(
            spec=VOVNETS[name],
            norm=GroupNormSettings.from_config(cfg) if use_group_norm else FrozenBatchNorm2d,
            deformable=_make_deformable_settings(cfg, VOVNETS[name]),
            freeze_at=cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT,
        )


def _make_deformable_settings(cfg: CfgNode, spec: VoVNetSpec) -> DeformableSettings:
    settings = DeformableSettings.from_config(cfg, "VOVNET")
    if spec.is_depthwise and any(settings.stages):
        raise ConfigError(
            "MODEL.VOVNET.STAGE_WITH_DCN: expected all False in a depthwise network, "
            f"got {settings.stages}"
        )
    return settings


def _make_stem(spec: VoVNetSpec, factory: _LayerFactory) -> nn.Sequential:
    first, second, third = spec.stem_channels
    groups = (
        factory.conv("stem_1", 3, first, kernel_size=3, stride=2),
        factory.layer("stem_2", first, second),
        factory.layer("stem_3", second, third, stride=2),
    )
    return NormSequential(OrderedDict(item for group in groups for item in group.named_children()))


def _make_stage(
    spec: VoVNetSpec, index: int, in_channels: int, factory: _LayerFactory
) -> nn.Sequential:
    """Stage C(index + 2): from C3 on it halves its input first."""
    layers: list[tuple[str, nn.Module]] = []
    if index > 0:
        layers.append(("pool", HalvingMaxPool()))
    for number in range(1, spec.blocks_per_stage[index] + 1):
        name = f"OSA{index + 2}_{number}"
        block = OSABlock(
            name=name,
            in_channels=in_channels,
            layer_channels=spec.layer_channels[index],
            out_channels=spec.out_channels[index],
            num_layers=spec.layers_per_block,
            has_identity=number > 1,
            factory=factory,
        )
        layers.append((name, block))
        in_channels = spec.out_channels[index]
    return nn.Sequential(OrderedDict(layers))
