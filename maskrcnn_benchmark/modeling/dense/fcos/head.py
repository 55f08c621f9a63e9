"""The convolutional head of FCOS (arXiv 1904.01355, section 3.2 and figure 2).

Shapes: N images, F feature channels, C foreground classes, D points per cell, Hi x Wi cells of
level i.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.convention import DistanceRule
from maskrcnn_benchmark.layers import Scale, at_least_float32
from maskrcnn_benchmark.modeling.dense.fcos.locations import check_dense_points
from maskrcnn_benchmark.modeling.make_layers import init_normal, make_tower
from maskrcnn_benchmark.modeling.registry import FCOS_HEADS

_TOWER_GROUPS = 32
_INIT_STD = 0.01


class FCOSOutputs(NamedTuple):
    """Raw predictions, one tensor per level, finest first.

    Attributes:
        logits: (N, D * C, Hi, Wi) class scores before the sigmoid.
        ltrb: (N, D * 4, Hi, Wi) distances >= 0 to the four sides, px of the resized image.
        centerness: (N, D, Hi, Wi) before the sigmoid.
    """

    logits: list[Tensor]
    ltrb: list[Tensor]
    centerness: list[Tensor]


@dataclass(frozen=True, slots=True)
class FCOSHeadSettings:
    """Sizes of the head.

    Args:
        in_channels: feature channels F, a multiple of 32.
        num_foreground: classes C without background.
        num_convs: convolutions of a tower (4; Lite: 2).
        num_levels: feature levels, each with its own learnable scale.
        prior_prob: class probability at the start, 0 < p < 1 (RetinaNet, arXiv 1708.02002, 3.3).
        dense_points: points per cell D: 1, 4 or 5.
        residual: a tower's input is added to its output.
        distances: how distances are made of raw predictions.
        strides: px per cell of each level; () where ``distances`` does not ask for them.
    """

    in_channels: int
    num_foreground: int = 80
    num_convs: int = 4
    num_levels: int = 5
    prior_prob: float = 0.01
    dense_points: int = 1
    residual: bool = False
    distances: DistanceRule = "exp"
    strides: tuple[int, ...] = ()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
    ) -> "FCOSHeadSettings":
        """Settings read from MODEL.FCOS, for the classes of ``spec``; None: those of ``cfg``."""
        spec = spec or ArchitectureSpec.from_config(cfg)
        fcos = cfg.MODEL.FCOS
        return cls(
            in_channels=in_channels,
            num_foreground=spec.num_classes - 1,
            num_convs=fcos.NUM_CONVS,
            # UPSTREAM(scales-per-level): there were five scales, whatever FPN_STRIDES said.
            num_levels=len(fcos.FPN_STRIDES),
            prior_prob=fcos.PRIOR_PROB,
            dense_points=check_dense_points(fcos.DENSE_POINTS),
            residual=fcos.RESIDUAL_CONNECTION,
            distances=Convention.from_config(cfg).fcos.distances,
            strides=tuple(fcos.FPN_STRIDES),
        )


def _exp(raw: Tensor, stride: int) -> Tensor:  # noqa: ARG001 - of the other rule
    """Positive distances, px, that do not depend on the level."""
    return raw.exp()


def _relu_strides(raw: Tensor, stride: int) -> Tensor:
    """Distances >= 0, px, of raw ones in strides (CenterMask2)."""
    return raw.relu() * stride


_TO_PX: Mapping[DistanceRule, Callable[[Tensor, int], Tensor]] = MappingProxyType(
    {"exp": _exp, "relu_strides": _relu_strides}
)


def _make_tower(settings: FCOSHeadSettings) -> nn.Sequential:
    norm = partial(nn.GroupNorm, _TOWER_GROUPS)
    return make_tower(settings.in_channels, settings.num_convs, std=_INIT_STD, norm=norm)


class _FCOSPredictions(nn.Module):
    """The three last convolutions and the per-level scales, shared by both heads.

    Args:
        settings: sizes of the head.
        towers: the towers by name; they come first in checkpoints and optimizers.
    """

    def __init__(self, settings: FCOSHeadSettings, towers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, tower in towers.items():
            self.add_module(name, tower)
        self.residual = settings.residual
        channels, points = settings.in_channels, settings.dense_points
        self.cls_logits = nn.Conv2d(channels, points * settings.num_foreground, 3, padding=1)
        self.bbox_pred = nn.Conv2d(channels, points * 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, points, 3, padding=1)
        for conv in (self.cls_logits, self.bbox_pred, self.centerness):
            init_normal(conv, _INIT_STD)
        prior = settings.prior_prob
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]
        self.scales = nn.ModuleList(Scale(init_value=1.0) for _ in range(settings.num_levels))
        self.strides = settings.strides or (1,) * settings.num_levels
        self.to_px = _TO_PX[settings.distances]

    def run_towers(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The (classification, box) tower outputs, each (N, F, Hi, Wi)."""
        raise NotImplementedError

    def forward(self, features: Sequence[Tensor]) -> FCOSOutputs:
        """Predictions on feature maps (N, F, Hi, Wi), finest first."""
        logits, raw_ltrb, centerness = list[Tensor](), list[Tensor](), list[Tensor]()
        for feature in features:
            cls_feature, box_feature = self.run_towers(feature)
            logits.append(self.cls_logits(cls_feature))
            # UPSTREAM(centerness-on-box-tower): the first paper draws it on the classification one.
            centerness.append(self.centerness(box_feature))
            raw_ltrb.append(self.bbox_pred(box_feature))
        # Half precision overflows at 65504 px and rounds 1000 px to halves.
        ltrb = [
            self.to_px(scale(at_least_float32(raw)), stride)
            for raw, scale, stride in zip(raw_ltrb, self.scales, self.strides, strict=True)
        ]
        return FCOSOutputs(logits=logits, ltrb=ltrb, centerness=centerness)


class FCOSHead(_FCOSPredictions):
    """Two towers, one for classes and one for boxes and centerness, shared by all levels."""

    cls_tower: nn.Sequential
    bbox_tower: nn.Sequential

    def __init__(self, settings: FCOSHeadSettings) -> None:
        towers = {name: _make_tower(settings) for name in ("cls_tower", "bbox_tower")}
        super().__init__(settings, towers)

    def run_towers(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The (classification, box) tower outputs, each (N, F, Hi, Wi)."""
        cls_feature, box_feature = self.cls_tower(feature), self.bbox_tower(feature)
        if self.residual:
            return cls_feature + feature, box_feature + feature
        return cls_feature, box_feature


class FCOSSharedHead(_FCOSPredictions):
    """One tower for classes, boxes and centerness, shared by all levels."""

    shared_tower: nn.Sequential

    def __init__(self, settings: FCOSHeadSettings) -> None:
        super().__init__(settings, {"shared_tower": _make_tower(settings)})

    def run_towers(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The same tower output (N, F, Hi, Wi) twice."""
        tower = self.shared_tower(feature)
        if self.residual:
            tower = tower + feature
        return tower, tower


@FCOS_HEADS.register("FCOSHead")
def build_fcos_head(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
) -> FCOSHead:
    """The two-tower head."""
    return FCOSHead(FCOSHeadSettings.from_config(cfg, in_channels, spec))


@FCOS_HEADS.register("FCOSSharedHead")
def build_fcos_shared_head(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
) -> FCOSSharedHead:
    """The one-tower head."""
    return FCOSSharedHead(FCOSHeadSettings.from_config(cfg, in_channels, spec))
