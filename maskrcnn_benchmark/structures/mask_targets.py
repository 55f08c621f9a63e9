"""Training targets of the mask and mask-IoU heads, from ground-truth masks and boxes.

Shapes: K boxes, each with the mask of its own instance; M side of the target.
Frame: px of the resized image, xyxy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.layers import roi_align
from maskrcnn_benchmark.structures.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.polygon_list import (
    Polygon,
    PolygonList,
    rasterize,
    rasterized_areas,
)
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

MIN_SIDE = 1.0
"""Least side in px of a crop, as in the original."""
BITMAP_THRESHOLD = 0.5
"""Share of a target pixel that a bitmap has to cover."""
PIXEL_CENTER = 0.5
"""Distance in px of a pixel's centre from its left and upper edge."""


class _Canvas(NamedTuple):
    """Piece of the image in which areas are counted; corners in px."""

    origin: NDArray[np.float32]
    size_hw: tuple[int, int]


def crop_and_rasterize(masks: SegmentationMask, boxes: Tensor, mask_side: int) -> Tensor:
    """(K, M, M) bool masks: instance k cropped to box k and scaled to M x M.

    Polygons are scaled before they are rasterised; bitmaps are averaged over each target pixel.
    A crop is x2 - x1 px wide, at least 1, and begins at x1 exactly.

    Args:
        masks: K instances.
        boxes: (K, 4) px of the resized image, xyxy; may leave the image.
        mask_side: M.

    Raises:
        ValueError: numbers of masks and boxes that differ.
    """
    _check_lengths(masks, boxes)
    if not isinstance(masks.instances, PolygonList):
        return _resample_bitmaps(masks.to_bitmasks(), boxes, mask_side)
    corners = boxes.detach().cpu().float().numpy()
    scales = np.float32(mask_side) / np.maximum(corners[:, 2:] - corners[:, :2], MIN_SIDE)
    crops = [
        [(points - corner[:2]) * scale for points in polygons]
        for polygons, corner, scale in zip(masks.instances.polygons, corners, scales, strict=True)
    ]
    return torch.from_numpy(rasterize(crops, (mask_side, mask_side))).to(boxes.device)


def area_ratios(masks: SegmentationMask, boxes: Tensor, first_polygon_only: bool = False) -> Tensor:
    """(K,) float32 share of instance k that lies in box k, > 0 and at most about 1.

    Both areas are rasterised and count as 1 px at least, so that one can divide by the ratio. Their
    canvases begin at different fractions of a pixel, so that a whole object may come out a few
    percent above 1, as in the original.

    Source: Mask Scoring R-CNN (Huang et al. 2019), section 3.3, the target of the mask-IoU head.

    Args:
        masks: K instances.
        boxes: (K, 4) px of the resized image, xyxy.
        first_polygon_only: count only the first polygon of an instance, as the original did.

    Raises:
        ValueError: numbers of masks and boxes that differ.
    """
    _check_lengths(masks, boxes)
    if not isinstance(masks.instances, PolygonList):
        return _bitmap_ratios(masks.to_bitmasks(), boxes)
    # UPSTREAM(first-polygon): the mask loss took the first polygon for the whole object.
    counted = slice(0, 1) if first_polygon_only else slice(None)
    image_wh = np.array(masks.size, dtype=np.float32)
    corners = boxes.detach().cpu().float().numpy()
    ratios = [
        _polygon_ratio(polygons[counted], corner, image_wh)
        for polygons, corner in zip(masks.instances.polygons, corners, strict=True)
    ]
    return torch.tensor(ratios, dtype=torch.float32, device=boxes.device)


def _check_lengths(masks: SegmentationMask, boxes: Tensor) -> None:
    if boxes.shape != (len(masks), 4):
        raise ValueError(f"boxes must be ({len(masks)}, 4), one a mask, not {tuple(boxes.shape)}")


def _polygon_ratio(
    polygons: Sequence[Polygon], box: NDArray[np.float32], image_wh: NDArray[np.float32]
) -> float:
    in_box = _area_within(polygons, _canvas(box[:2], box[2:]))
    full = _area_within(polygons, _canvas_around(polygons, box, image_wh))
    return max(in_box, 1) / max(full, 1)


def _canvas_around(
    polygons: Sequence[Polygon], box: NDArray[np.float32], image_wh: NDArray[np.float32]
) -> _Canvas:
    """The box, rounded outwards, and all polygons, as far as they are in the image.

    Rasterised areas depend on where the canvas begins; this is where the original's did.
    """
    points = np.concatenate([*polygons, box.reshape(2, 2)])
    outer = np.floor(box[:2]), np.floor(box[2:]) + LEGACY_PIXEL_OFFSET
    first = np.minimum(outer[0], points.min(axis=0))
    last = np.maximum(outer[1], points.max(axis=0))
    return _canvas(np.maximum(first, 0), np.minimum(last, image_wh - LEGACY_PIXEL_OFFSET))


def _canvas(first: NDArray[np.float32], last: NDArray[np.float32]) -> _Canvas:
    width, height = np.maximum(last - first, MIN_SIDE).astype(int).tolist()
    return _Canvas(origin=first, size_hw=(height, width))


def _area_within(polygons: Sequence[Polygon], canvas: _Canvas) -> int:
    moved = [points - canvas.origin for points in polygons]
    (area,) = rasterized_areas([moved], canvas.size_hw)
    return area


def _resample_bitmaps(bitmaps: Tensor, boxes: Tensor, mask_side: int) -> Tensor:
    """(K, M, M) bool; the average of bilinear samples, one a px of the box and side or more."""
    targets = boxes.new_zeros((len(boxes), mask_side, mask_side), dtype=torch.bool)
    rois = torch.zeros((len(boxes), 1, 5), device=bitmaps.device)
    # RoIAlign here takes pixel centres as whole numbers; edges are half a pixel before them.
    rois[:, 0, 1:] = boxes.detach().to(bitmaps.device) - PIXEL_CENTER
    # One at a time: float planes of all masks would be large.
    for target, bitmap, roi in zip(targets, bitmaps, rois, strict=True):
        share = roi_align(bitmap[None, None].float(), roi, mask_side, 1.0, 0)
        target.copy_(share[0, 0] >= BITMAP_THRESHOLD)
    return targets


def _bitmap_ratios(bitmaps: Tensor, boxes: Tensor) -> Tensor:
    """(K,) share of each bitmap's pixels whose centre lies in the box."""
    bounds = (boxes.detach() - PIXEL_CENTER).ceil().clamp(min=0).long().tolist()
    inside = [
        bitmap[top:bottom, left:right]
        for bitmap, (left, top, right, bottom) in zip(bitmaps, bounds, strict=True)
    ]
    return (_pixel_counts(inside) / _pixel_counts(list(bitmaps))).to(boxes.device)


def _pixel_counts(bitmaps: list[Tensor]) -> Tensor:
    """(K,) number of pixels of each bitmap, at least 1."""
    # One by one is ten times faster than a sum over two dimensions of a bool stack.
    counts = [bitmap.count_nonzero() for bitmap in bitmaps]
    return torch.stack(counts).clamp(min=1) if counts else torch.zeros(0)
