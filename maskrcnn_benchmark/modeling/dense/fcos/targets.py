"""Which location learns which box (FCOS, arXiv 1904.01355, sections 3.1 to 3.3, equations 1 and 3).

Shapes: N images, L locations over all levels, G ground truths of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList

_NO_BOX, _NO_BOX_AREA = -1, float("inf")


class FCOSTargets(NamedTuple):
    """What every location of a batch should predict: levels, then images, then locations.

    The order of the original: sums over locations then round like its sums.

    Attributes:
        labels: (N * L,) int64, 0 = background.
        ltrb: (N * L, 4) distances to the sides of the assigned box, px; arbitrary for background.
    """

    labels: Tensor
    ltrb: Tensor


@dataclass(frozen=True, slots=True)
class FCOSTargetSettings:
    """How locations are assigned.

    Args:
        strides: px per cell of each level.
        size_ranges: per level (low, high): it takes boxes with low <= max(l, t, r, b) <= high.
        center_sample: positives must lie near the box centre, not just inside the box.
        radius: half side of that centre square, in strides.
    """

    strides: tuple[int, ...]
    size_ranges: tuple[tuple[float, float], ...]
    center_sample: bool = False
    radius: float = 1.5


def box_distances(locations: Tensor, boxes: Tensor) -> Tensor:
    """Distances (L, G, 4) from locations (L, 2) to the left, top, right, bottom of boxes (G, 4)."""
    to_left_top = locations[:, None, :] - boxes[None, :, :2]
    to_right_bottom = boxes[None, :, 2:] - locations[:, None, :]
    return torch.cat([to_left_top, to_right_bottom], dim=-1)


def compute_centerness_targets(ltrb: Tensor) -> Tensor:
    """Centerness (K,) in [0, 1] of the distances (K, 4) of positive locations.

    Source: FCOS, equation 3: sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)).
    """
    horizontal, vertical = ltrb[:, 0::2], ltrb[:, 1::2]
    ratio = horizontal.amin(dim=1) / horizontal.amax(dim=1)
    return torch.sqrt(ratio * vertical.amin(dim=1) / vertical.amax(dim=1))


class FCOSTargetAssigner:
    """Assigns ground-truth boxes to locations; of several boxes the smallest one wins.

    Args:
        settings: how.
        pairs_at_once: pairs of a location and a box that are looked at together at most, which
            bounds the memory that is needed.
    """

    def __init__(self, settings: FCOSTargetSettings, *, pairs_at_once: int = 2**18) -> None:
        self.settings = settings
        self.pairs_at_once = pairs_at_once

    def __call__(self, locations: Sequence[Tensor], targets: Sequence[BoxList]) -> FCOSTargets:
        """Targets of a batch.

        Args:
            locations: per level (Li, 2), px.
            targets: one BoxList an image, px of the resized image, with the field ``labels``.
        """
        all_locations = torch.cat(list(locations))
        low_high = torch.cat(
            [
                points.new_tensor(size_range).expand(len(points), 2)
                for points, size_range in zip(locations, self.settings.size_ranges, strict=True)
            ]
        )
        radii = torch.cat(
            [
                points.new_full((len(points),), stride * self.settings.radius)
                for points, stride in zip(locations, self.settings.strides, strict=True)
            ]
        )
        per_image = [
            self._assign_image(all_locations, low_high, radii, target) for target in targets
        ]
        sizes = [len(points) for points in locations]
        none = _no_box(all_locations[:0])
        return FCOSTargets(
            *(_level_by_level(parts, sizes) for parts in zip(none, *per_image, strict=True))
        )

    def _assign_image(
        self, locations: Tensor, low_high: Tensor, radii: Tensor, target: BoxList
    ) -> tuple[Tensor, Tensor]:
        target = target.convert("xyxy")
        if len(target) == 0:
            return _no_box(locations)
        boxes, areas = target.bbox.to(locations.dtype), target.area().to(locations.dtype)
        rows = max(1, self.pairs_at_once // len(target))
        parts = zip(
            torch.split(locations, rows),
            torch.split(low_high, rows),
            torch.split(radii, rows),
            strict=True,
        )
        found = [
            self._assign_part(points, ranges, halves, boxes, areas)
            for points, ranges, halves in parts
        ]
        inds, ltrb = (torch.cat(values) for values in zip(*found, strict=True))
        labels = target.get_field("labels")[inds].to(torch.int64)
        return labels.masked_fill(inds == _NO_BOX, 0), ltrb

    def _assign_part(
        self, locations: Tensor, low_high: Tensor, radii: Tensor, boxes: Tensor, areas: Tensor
    ) -> tuple[Tensor, Tensor]:
        """For some locations (L,) int64 index of the box or ``_NO_BOX``, and (L, 4) distances."""
        ltrb = box_distances(locations, boxes)
        largest = ltrb.amax(dim=-1)
        candidates = (largest >= low_high[:, :1]) & (largest <= low_high[:, 1:])
        candidates &= self._is_inside(locations, radii, boxes, ltrb)
        # argmin returns the first of equal areas on the CPU only; see first_argmin.
        smallest, box_inds = first_argmin(torch.where(candidates, areas, _NO_BOX_AREA))
        own = ltrb[torch.arange(len(locations), device=locations.device), box_inds]
        return box_inds.masked_fill(torch.isinf(smallest), _NO_BOX), own

    def _is_inside(self, locations: Tensor, radii: Tensor, boxes: Tensor, ltrb: Tensor) -> Tensor:
        """(L, G) bool: the location lies strictly inside the box, or its centre square."""
        if not self.settings.center_sample:
            return ltrb.amin(dim=-1) > 0
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        half = radii[:, None, None]
        left_top = torch.maximum(centers - half, boxes[:, :2])
        right_bottom = torch.minimum(centers + half, boxes[:, 2:])
        points = locations[:, None, :]
        return ((points > left_top) & (points < right_bottom)).all(dim=-1)


def _no_box(locations: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (L,) and distances (L, 4) of background."""
    labels = locations.new_zeros(len(locations), dtype=torch.int64)
    return labels, locations.new_zeros(len(locations), 4)


def _level_by_level(values: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """(N * L, ...) from none (0, ...) and (L, ...) of every image: levels, images, locations."""
    none, *per_image = values
    per_level = zip(*(torch.split(image, list(sizes)) for image in per_image), strict=True)
    return torch.cat([none, *(part for level in per_level for part in level)])


def first_argmin(values: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and index of its first occurrence along the last dimension, on every device.

    Args:
        values: (L, G), G >= 1.
    """
    smallest = values.amin(dim=-1)
    order = torch.arange(values.shape[-1], device=values.device)
    is_smallest = values == smallest[..., None]
    return smallest, torch.where(is_smallest, order, values.shape[-1]).amin(dim=-1)
