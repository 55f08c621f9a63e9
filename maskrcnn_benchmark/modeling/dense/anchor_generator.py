"""Anchors: boxes of fixed sizes and shapes around every cell of the feature maps.

Shapes: A anchors of a cell, Li anchors of level i (rows, then columns, then the anchors of a cell),
Hi x Wi cells of level i.
Frame: xyxy px of the padded batch; inclusive corners for the anchors of the "detectron" form.
"""

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode, Convention
from maskrcnn_benchmark.config.convention import LEGACY, AnchorForm, GridRules, PitchRule
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.modeling.dense.levels import Pitch, level_pitches

_MAX_CACHED_GRIDS: Final = 64
"""Levels times image sizes; multi-scale training has some ten sizes of five levels."""


def make_cell_anchors(
    stride: float, sizes: Sequence[float], aspect_ratios: Sequence[float]
) -> Tensor:
    """(A, 4) float32 anchors of the cell at the origin, sizes running fastest.

    Width and height of the stride's square are changed to each ratio and rounded to pixels before
    they are scaled, as in Detectron.

    Args:
        stride: px per cell.
        sizes: square roots of the anchors' areas, px.
        aspect_ratios: heights / widths.

    Source: Faster R-CNN (Ren et al. 2015), section 3.1.1.
    """
    center = (stride - LEGACY_PIXEL_OFFSET) / 2
    anchors = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        base_width = round((stride * stride / ratio) ** 0.5)
        base_height = round(base_width * ratio)
        scale = size / stride
        half_width = (base_width * scale - LEGACY_PIXEL_OFFSET) / 2
        half_height = (base_height * scale - LEGACY_PIXEL_OFFSET) / 2
        corner = (center - half_width, center - half_height)
        anchors.append((*corner, center + half_width, center + half_height))
    return torch.tensor(anchors, dtype=torch.float64).reshape(-1, 4).float()


def make_exact_anchors(
    stride: float,  # noqa: ARG001 - as ``make_cell_anchors``
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
) -> Tensor:
    """(A, 4) float32 anchors around the point (0, 0), sizes running fastest; nothing is rounded.

    The area of an anchor is exactly its size squared (detectron2). Arguments as for
    ``make_cell_anchors``.
    """
    anchors = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        width = math.sqrt(size**2 / ratio)
        half_wh = (width / 2, ratio * width / 2)
        anchors.append((-half_wh[0], -half_wh[1], *half_wh))
    return torch.tensor(anchors, dtype=torch.float64).reshape(-1, 4).float()


def make_whole_anchors(
    stride: float,  # noqa: ARG001 - as ``make_cell_anchors``
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
) -> Tensor:
    """(A, 4) float32 anchors around the point (0, 0), sizes running fastest; all in whole px.

    Sizes are cut, and corners rounded, to whole pixels (torchvision). Arguments as for
    ``make_cell_anchors``.
    """
    whole = torch.tensor([int(size) for size in sizes], dtype=torch.float32)
    roots = torch.tensor(list(aspect_ratios), dtype=torch.float32).sqrt()[:, None]
    half_wh = torch.stack([whole / roots, whole * roots], dim=-1).reshape(-1, 2) / 2
    return torch.cat([-half_wh, half_wh], dim=1).round()


AnchorMaker: TypeAlias = Callable[[float, Sequence[float], Sequence[float]], Tensor]
ANCHOR_FORMS: Final[Mapping[AnchorForm, AnchorMaker]] = MappingProxyType(
    {
        "detectron": make_cell_anchors,
        "exact": make_exact_anchors,
        "whole": make_whole_anchors,
    }
)


def is_inside(anchors: Tensor, image_size_hw: tuple[int, int], straddle_thresh: float) -> Tensor:
    """(L,) bool: anchors that stick out of the image by at most ``straddle_thresh`` px.

    Args:
        anchors: (L, 4).
        image_size_hw: (height, width) of the image before padding.
        straddle_thresh: px; negative: all anchors count as inside.
    """
    if straddle_thresh < 0:
        return torch.ones(len(anchors), dtype=torch.bool, device=anchors.device)
    height, width = image_size_hw
    end = anchors.new_tensor([width, height]) + straddle_thresh
    return (anchors[:, :2] >= -straddle_thresh).all(dim=1) & (anchors[:, 2:] < end).all(dim=1)


class _Buffers(nn.Module):
    """Tensors that appear in the state dict as ``<name>.0``, ``<name>.1``, ..."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for i, tensor in enumerate(tensors):
            self.register_buffer(str(i), tensor)


class AnchorGenerator(nn.Module):
    """Makes the anchors of all levels.

    Args:
        sizes: for each level the sizes of its anchors, px; every level needs equally many.
        aspect_ratios: heights / widths, for all levels.
        strides: px per cell of each level, finest first.
        rules: how anchors are made of sizes and ratios, and how far apart cells lie.

    Raises:
        ValueError: unless each stride has its sizes, equally many on all levels.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[float],
        strides: Sequence[int],
        rules: GridRules = LEGACY.grid,
    ) -> None:
        super().__init__()
        if len(sizes) != len(strides) or len({len(level) for level in sizes}) != 1:
            raise ValueError(
                "sizes: expected as many lists as strides, all of one length, got "
                f"{[tuple(level) for level in sizes]} for the strides {tuple(strides)}"
            )
        self.strides = tuple(strides)
        self.pitch: PitchRule = rules.pitch
        self.cell_anchors = _Buffers(
            [
                ANCHOR_FORMS[rules.anchors](stride, level_sizes, aspect_ratios)
                for stride, level_sizes in zip(strides, sizes, strict=True)
            ]
        )
        self.num_anchors_per_location = len(sizes[0]) * len(aspect_ratios)
        self._grids: OrderedDict[tuple[int, int, Pitch, torch.device], Tensor] = OrderedDict()

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Anchors (Li, 4) float32 of every level.

        Args:
            features: maps (N, F, Hi, Wi), finest first.

        Raises:
            ConfigError: if there are more or fewer maps than strides.
        """
        if len(features) != len(self.strides):
            raise ConfigError(
                "MODEL.RPN.ANCHOR_STRIDE (or MODEL.RETINANET.ANCHOR_STRIDES): the backbone makes "
                f"{len(features)} feature maps, got {len(self.strides)} strides "
                f"{list(self.strides)}"
            )
        sizes_hw = [(feature.shape[-2], feature.shape[-1]) for feature in features]
        pitches = level_pitches(sizes_hw, self.strides, self.pitch)
        return [
            (self._grid(feature, pitch)[:, None] + cell_anchors.float()).reshape(-1, 4)
            for feature, pitch, cell_anchors in zip(
                features, pitches, self.cell_anchors.buffers(), strict=True
            )
        ]

    def _grid(self, feature: Tensor, pitch: Pitch) -> Tensor:
        """(Hi * Wi, 4) (x, y, x, y) of the cells' origins."""
        height, width = feature.shape[-2:]
        key = (height, width, pitch, feature.device)
        if key not in self._grids:
            self._grids[key] = _make_grid(*key)
            if len(self._grids) > _MAX_CACHED_GRIDS:
                self._grids.popitem(last=False)
        return self._grids[key]


def _make_grid(height: int, width: int, pitch: Pitch, device: torch.device) -> Tensor:
    # Outside of inference mode, so that training can use what an evaluation made first.
    with torch.inference_mode(mode=False):
        y, x = (
            torch.arange(cells, device=device, dtype=torch.float32) * px
            for cells, px in ((height, pitch.y), (width, pitch.x))
        )
        origins = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        return origins.reshape(-1, 2).repeat(1, 2)


def make_anchor_generator(cfg: CfgNode) -> AnchorGenerator:
    """The anchors that MODEL.RPN describes: all sizes on one map, or those of each level (USE_FPN).

    Raises:
        ConfigError: if ANCHOR_STRIDE and ANCHOR_SIZES do not fit.
    """
    rpn = cfg.MODEL.RPN
    sizes, strides = list(rpn.ANCHOR_SIZES), list(rpn.ANCHOR_STRIDE)
    num_expected = len(sizes) if rpn.USE_FPN else 1
    if len(strides) != num_expected:
        what = "one for each of ANCHOR_SIZES" if rpn.USE_FPN else "as USE_FPN is False"
        raise ConfigError(
            f"MODEL.RPN.ANCHOR_STRIDE: expected {num_expected} strides ({what}), got {strides}"
        )
    of_each = [size if isinstance(size, tuple) else (size,) for size in sizes]
    per_level = of_each if rpn.USE_FPN else [tuple(itertools.chain.from_iterable(of_each))]
    if len({len(level) for level in per_level}) > 1:
        raise ConfigError(
            f"MODEL.RPN.ANCHOR_SIZES: expected as many sizes on every level, got {sizes}"
        )
    return AnchorGenerator(
        sizes=per_level,
        aspect_ratios=rpn.ASPECT_RATIOS,
        strides=strides,
        rules=Convention.from_config(cfg).grid,
    )


def make_anchor_generator_retinanet(cfg: CfgNode) -> AnchorGenerator:
    """The anchors that MODEL.RETINANET describes: SCALES_PER_OCTAVE sizes a level.

    Raises:
        ConfigError: if ANCHOR_STRIDES and ANCHOR_SIZES differ in length.
    """
    retinanet = cfg.MODEL.RETINANET
    sizes, strides = list(retinanet.ANCHOR_SIZES), list(retinanet.ANCHOR_STRIDES)
    if len(sizes) != len(strides):
        raise ConfigError(
            f"MODEL.RETINANET.ANCHOR_STRIDES: expected {len(sizes)} strides (one for each of "
            f"ANCHOR_SIZES), got {strides}"
        )
    num_scales = retinanet.SCALES_PER_OCTAVE
    factors = [retinanet.OCTAVE ** (i / num_scales) for i in range(num_scales)]
    return AnchorGenerator(
        sizes=[[size * factor for factor in factors] for size in sizes],
        aspect_ratios=retinanet.ASPECT_RATIOS,
        strides=strides,
        rules=Convention.from_config(cfg).grid,
    )
