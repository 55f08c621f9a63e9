"""RoI features from the feature pyramid level that fits each box.

Shapes: N images, R boxes of all images, C channels, M side of the pooled map.
Frame: boxes are px of the resized, unpadded image, xyxy.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode, Convention
from maskrcnn_benchmark.config.convention import LEGACY, RoIRules
from maskrcnn_benchmark.layers import ROIAlign
from maskrcnn_benchmark.modeling.registry import LEVEL_MAPPERS
from maskrcnn_benchmark.structures.bounding_box import BoxList

LevelMap: TypeAlias = Callable[[list[BoxList]], Tensor]


class LevelMapper:
    """Maps boxes to levels by their own size.

    Source: FPN (Lin et al. 2017), Eq. (1); CenterMask, Eq. (1).

    Args:
        k_min: finest level, log2 of its stride.
        k_max: coarsest level.
        canonical_scale: side in px of a square box that belongs to ``canonical_level``.
        canonical_level: see ``canonical_scale``.
        eps: added to the size ratio, so that exact powers of two do not fall below their level.
    """

    def __init__(
        self,
        k_min: int,
        k_max: int,
        canonical_scale: float = 224,
        canonical_level: int = 4,
        eps: float = 1e-6,
    ) -> None:
        self.k_min = k_min
        self.k_max = k_max
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level
        self.eps = eps

    def __call__(self, boxes: list[BoxList]) -> Tensor:
        """(R,) int64 level of each box, 0 = the finest, in [0, k_max - k_min].

        Args:
            boxes: boxes of N images.
        """
        sides = _cat([_areas(boxes_per_image).sqrt() for boxes_per_image in boxes])
        levels = self.canonical_level + torch.log2(sides / self.canonical_scale + self.eps)
        return _as_level_index(levels.floor(), self.k_min, self.k_max)


class LevelMapperwithArea:
    """Maps boxes to levels by their share of the image's area.

    Source: CenterMask (Lee and Park 2020), Eq. (2): k = ceil(k_max - log2(A_image / A_box)).

    Args:
        k_min: finest level, log2 of its stride.
        k_max: coarsest level; boxes of half the image or more go there.
        eps: added to the area ratio, as in the original.
    """

    def __init__(self, k_min: int, k_max: int, eps: float = 1e-6) -> None:
        self.k_min = k_min
        self.k_max = k_max
        self.eps = eps

    def __call__(self, boxes: list[BoxList]) -> Tensor:
        """(R,) int64 level of each box, 0 = the finest, in [0, k_max - k_min].

        Args:
            boxes: boxes of N images; the image's area is that of ``BoxList.size``, without padding.
        """
        ratios = _cat([math.prod(per_image.size) / _areas(per_image) for per_image in boxes])
        levels = self.k_max - torch.log2(ratios + self.eps)
        return _as_level_index(levels.ceil(), self.k_min, self.k_max)


@LEVEL_MAPPERS.register("MASKRCNNLevelMapFunc")
def build_size_mapper(k_min: int, k_max: int, rules: RoIRules = LEGACY.roi) -> LevelMapper:
    """The mapper for MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION "MASKRCNNLevelMapFunc"."""
    return LevelMapper(k_min, k_max, eps=rules.size_eps)


@LEVEL_MAPPERS.register("CenterMaskLevelMapFunc")
def build_share_mapper(k_min: int, k_max: int, rules: RoIRules = LEGACY.roi) -> LevelMapperwithArea:
    """The mapper for MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION "CenterMaskLevelMapFunc"."""
    return LevelMapperwithArea(k_min, k_max, eps=rules.share_eps)


def _areas(boxes: BoxList) -> Tensor:
    """(K,) areas; inverted boxes count as empty, their logarithm would be NaN."""
    return boxes.area().clamp(min=0)


def _cat(values_per_image: list[Tensor]) -> Tensor:
    return torch.cat(values_per_image) if values_per_image else torch.zeros(0)


def _as_level_index(levels: Tensor, k_min: int, k_max: int) -> Tensor:
    return levels.clamp(min=k_min, max=k_max).to(torch.int64) - k_min


class Pooler(nn.Module):
    """RoIAlign over a feature pyramid, each box from one level.

    Args:
        output_size: (height, width) of the pooled maps.
        scales: size of each level's feature map relative to the image (1 / stride), finest first.
        sampling_ratio: samples a bin and side; 0 means as many as it takes.
        level_mapper: gives each box its level; by default the ``LevelMapper`` of the scales.
        aligned: as for ``ROIAlign``.

    Raises:
        ValueError: no scale.
    """

    def __init__(
        self,
        output_size: tuple[int, int],
        scales: Sequence[float],
        sampling_ratio: int,
        level_mapper: LevelMap | None = None,
        *,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        if not scales:
            raise ValueError("scales must name at least one level")
        self.output_size = output_size
        self.scales = tuple(scales)
        self.level_mapper = level_mapper or LevelMapper(*_level_range(scales))
        self.poolers = nn.ModuleList(
            ROIAlign(
                output_size, spatial_scale=scale, sampling_ratio=sampling_ratio, aligned=aligned
            )
            for scale in scales
        )

    def forward(self, features: Sequence[Tensor], boxes: list[BoxList]) -> Tensor:
        """(R, C, M, M) features of all boxes, in the order of the concatenated lists.

        Args:
            features: (N, C, H_i, W_i) maps, one a scale (further, coarser ones are ignored).
            boxes: boxes of each of the N images; lists may be empty.

        Raises:
            ValueError: fewer feature maps than scales.
        """
        if len(features) < len(self.poolers):
            raise ValueError(f"{len(features)} feature maps for {len(self.poolers)} scales")
        device = features[0].device
        if len(self.poolers) == 1:
            single: Tensor = self.poolers[0](features[0], to_rois(boxes, device))
            return single
        levels = self.level_mapper(boxes).to(device)
        by_level = levels.argsort(stable=True)
        # One synchronisation for all levels instead of one each.
        counts = levels.bincount(minlength=len(self.poolers)).tolist()
        rois_per_level = torch.split(to_rois(boxes, device)[by_level], counts)
        pooled = []
        for pooler, feature, rois in zip(self.poolers, features, rois_per_level, strict=False):
            pooled.append(pooler(feature, rois))
        return torch.cat(pooled)[by_level.argsort()]


def to_rois(boxes: list[BoxList], device: torch.device) -> Tensor:
    """(R, 5) boxes of all images as (image index, x1, y1, x2, y2)."""
    rois = [torch.zeros((0, 5), device=device)]
    for image_index, boxes_per_image in enumerate(boxes):
        corners = boxes_per_image.convert("xyxy").bbox
        index = torch.full_like(corners[:, :1], image_index)
        rois.append(torch.cat([index, corners], dim=1))
    return torch.cat(rois)


def make_level_mapper(cfg: CfgNode, scales: Sequence[float]) -> LevelMap:
    """The level mapper ``MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION`` for the levels of ``scales``.

    Args:
        cfg: configuration.
        scales: see ``Pooler``; powers of two, finest first.
    """
    rules = Convention.from_config(cfg).roi
    function = cfg.MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION
    return LEVEL_MAPPERS.build(function, *_level_range(scales), rules)


def _level_range(scales: Sequence[float]) -> tuple[int, int]:
    """Finest and coarsest level of the scales, log2 of their strides."""
    return int(-math.log2(scales[0])), int(-math.log2(scales[-1]))


def make_pooler(cfg: CfgNode, head_name: str) -> Pooler:
    """The pooler of a RoI head.

    Args:
        cfg: configuration.
        head_name: section of ``MODEL`` with the POOLER keys, such as "ROI_MASK_HEAD".
    """
    section = cfg.MODEL[head_name]
    resolution: int = section.POOLER_RESOLUTION
    scales: tuple[float, ...] = tuple(section.POOLER_SCALES)
    # UPSTREAM(one-level-map): every head, the box head too, reads the mask head's level map
    # function.
    return Pooler(
        output_size=(resolution, resolution),
        scales=scales,
        sampling_ratio=section.POOLER_SAMPLING_RATIO,
        level_mapper=make_level_mapper(cfg, scales),
        aligned=Convention.from_config(cfg).roi.aligned,
    )
