"""Training targets of the mask and mask-IoU heads, from ground-truth masks and boxes.

Shapes: K boxes, each with the mask of its own instance; M side of the target.
Frame: px of the resized image, xyxy.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.layers import (
    PolygonGroups,
    polygon_areas,
    rasterize_polygons,
    roi_align,
)
from maskrcnn_benchmark.layers.coco_raster import Polygon, rasterize
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.polygon_list import PolygonList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

MIN_SIDE = 1.0
"""Least side in px of a crop, as in the original."""
BITMAP_THRESHOLD = 0.5
"""Share of a target pixel that a bitmap has to cover."""
PIXEL_CENTER = 0.5
"""Distance in px of a pixel's centre from its left and upper edge."""
_MIN_RATIO: Final = 1e-10


class _Canvases(NamedTuple):
    """Pieces of the image in which areas are counted: origins (K, 2) in px, x first, and sizes."""

    origins: NDArray[np.float32]
    sizes_hw: NDArray[np.int64]


def crop_and_rasterize(
    masks: SegmentationMask, boxes: Tensor, mask_side: int, *, min_side: float = MIN_SIDE
) -> Tensor:
    """(K, M, M) bool masks: instance k cropped to box k and scaled to M x M.

    Polygons are scaled before they are rasterised; bitmaps are averaged over each target pixel.
    A crop is x2 - x1 px wide, at least ``min_side``, and begins at x1 exactly.

    Args:
        masks: K instances.
        boxes: (K, 4) px of the resized image, xyxy; may leave the image.
        mask_side: M.
        min_side: px, of polygons' crops; bitmaps' are 1 px at least.

    Raises:
        ValueError: numbers of masks and boxes that differ.
    """
    _check_lengths(masks, boxes)
    if not isinstance(masks.instances, PolygonList):
        return _resample_bitmaps(masks.to_bitmasks(), boxes, mask_side)
    groups, instances = _grouped(masks.instances.polygons)
    crops = rasterize_polygons(groups, instances, boxes, mask_side)
    narrow = ((boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < MIN_SIDE).nonzero().squeeze(1).cpu()
    if min_side != MIN_SIDE and len(narrow):
        # The operator's least side is MIN_SIDE: in a larger picture it is this one.
        factor = MIN_SIDE / min_side
        larger = groups._replace(points=groups.points * factor)
        corners = boxes.detach().cpu()[narrow] * factor
        crops[narrow] = rasterize_polygons(larger, instances[narrow], corners, mask_side)
    return crops.to(boxes.device)


def crop_and_rasterize_precisely(masks: SegmentationMask, boxes: Tensor, mask_side: int) -> Tensor:
    """(K, M, M) bool masks as of ``crop_and_rasterize``, in the precision that polygons have.

    Where float64 polygons are nearly halves of COCO's raster, single pixels differ from those of
    their float32 roundings. Arguments and errors are those of ``crop_and_rasterize``.
    """
    _check_lengths(masks, boxes)
    if not isinstance(masks.instances, PolygonList):
        return crop_and_rasterize(masks, boxes, mask_side)
    crops = np.zeros((len(masks), mask_side, mask_side), dtype=np.bool_)
    corners = boxes.detach().cpu().double().numpy()
    for crop, polygons, (x1, y1, x2, y2) in zip(
        crops, masks.instances.polygons, corners, strict=True
    ):
        scale = mask_side / np.maximum((x2 - x1, y2 - y1), MIN_SIDE)
        moved = [(points - (x1, y1)) * scale for points in polygons]
        crop[:] = rasterize([moved], (mask_side, mask_side))[0]
    return torch.from_numpy(crops).to(boxes.device)


def area_ratios(masks: SegmentationMask, boxes: Tensor) -> Tensor:
    """(K,) float32 share of instance k that lies in box k, > 0 and at most about 1.

    Both areas are rasterised and count as 1 px at least, so that one can divide by the ratio. Their
    canvases begin at different fractions of a pixel, so that a whole object may come out a few
    percent above 1, as in the original.

    Source: Mask Scoring R-CNN (Huang et al. 2019), section 3.3, the target of the mask-IoU head.

    Args:
        masks: K instances.
        boxes: (K, 4) px of the resized image, xyxy.

    Raises:
        ValueError: numbers of masks and boxes that differ.
    """
    _check_lengths(masks, boxes)
    if not isinstance(masks.instances, PolygonList):
        return _bitmap_ratios(masks.to_bitmasks(), boxes)
    # UPSTREAM(all-polygons): the original took the first polygon for the whole object.
    groups, instances = _grouped(masks.instances.polygons)
    corners = boxes.detach().cpu().float().numpy()
    inner = _canvases(corners[:, :2], corners[:, 2:])
    outer = _canvases_around(*_bounds(groups, instances), corners, masks.size)
    areas = polygon_areas(
        groups,
        instances.repeat(2),
        torch.from_numpy(np.concatenate([inner.origins, outer.origins])),
        torch.from_numpy(np.concatenate([inner.sizes_hw, outer.sizes_hw])),
    )
    in_box, full = areas.clamp(min=1).double().chunk(2)
    return (in_box / full).float().to(boxes.device)


def shoelace_ratios(masks: SegmentationMask, boxes: Tensor) -> Tensor:
    """(K,) float32 share of instance k that lies in box k, in [1e-10, 1].

    The pixels of each polygon, rasterised from the box's corner on a canvas of whole px, over the
    polygons' areas; overlaps of the polygons of an instance count twice in both. Bitmaps as in
    ``area_ratios``. Source: behaviour of CenterMask2, otherwise as ``area_ratios``.

    Args:
        masks: K instances.
        boxes: (K, 4) px of the resized image, xyxy.

    Raises:
        ValueError: numbers of masks and boxes that differ.
    """
    _check_lengths(masks, boxes)
    if not isinstance(masks.instances, PolygonList):
        return _bitmap_ratios(masks.to_bitmasks(), boxes)
    groups, instances = _grouped(masks.instances.polygons)
    begins = groups.instance_begins
    counts = (begins[1:] - begins[:-1])[instances]
    # Every polygon is an instance of its own; each box meets all those of its object.
    of_box = torch.arange(len(boxes)).repeat_interleave(counts)
    firsts = begins[:-1][instances] - (counts.cumsum(0) - counts)
    polygons = firsts.repeat_interleave(counts) + torch.arange(len(of_box))
    alone = groups._replace(instance_begins=torch.arange(len(groups.polygon_begins)))
    corners = boxes.detach().cpu().float()
    sizes_hw = (corners[:, 2:] - corners[:, :2]).flip(1).long()
    origins = corners[of_box, :2]
    pixels = polygon_areas(alone, polygons, origins, sizes_hw.clamp(min=1)[of_box]).double()
    pixels *= (sizes_hw > 0).all(dim=1)[of_box]
    in_box = torch.zeros(len(boxes), dtype=torch.float64).index_add_(0, of_box, pixels)
    full = torch.zeros(len(boxes), dtype=torch.float64).index_add_(
        0, of_box, _shoelace_areas(groups)[polygons]
    )
    ratios = (in_box / full).nan_to_num(0).clamp(_MIN_RATIO, 1)
    return ratios.float().to(boxes.device)


def _shoelace_areas(groups: PolygonGroups) -> Tensor:
    """(Q,) float64 area in px^2 of each polygon."""
    points = groups.points.double()
    begins = groups.polygon_begins.tolist()
    areas = []
    for begin, end in pairwise(begins):
        x, y = points[begin:end].unbind(dim=1)
        areas.append(0.5 * (x.dot(y.roll(1)) - y.dot(x.roll(1))).abs())
    return torch.stack(areas) if areas else points.new_zeros(0)


def _check_lengths(masks: SegmentationMask, boxes: Tensor) -> None:
    if boxes.shape != (len(masks), 4):
        raise ValueError(f"boxes must be ({len(masks)}, 4), one a mask, not {tuple(boxes.shape)}")


def _grouped(instances: Sequence[Sequence[Polygon]]) -> tuple[PolygonGroups, Tensor]:
    """The distinct instances in one piece of memory, and each one's index among them, (K,)."""
    # The proposals of one ground truth share its polygons.
    places = {id(polygons): polygons for polygons in instances}
    place_of = {key: place for place, key in enumerate(places)}
    flat = [points for polygons in places.values() for points in polygons]
    groups = PolygonGroups(
        points=torch.from_numpy(np.concatenate([np.zeros((0, 2)), *flat]).astype(np.float32)),
        polygon_begins=_begins([len(points) for points in flat]),
        instance_begins=_begins([len(polygons) for polygons in places.values()]),
    )
    return groups, torch.tensor([place_of[id(polygons)] for polygons in instances]).long()


def _begins(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(dim=0)


def _bounds(
    groups: PolygonGroups, instances: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Least and greatest x and y, (K, 2) each, of the instances; inf and -inf without points."""
    points = groups.points.numpy()
    begins = groups.polygon_begins[groups.instance_begins].numpy()
    has_points = begins[:-1] < begins[1:]
    bounds = []
    for function, nothing in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        bound = np.full((len(has_points), 2), nothing, dtype=np.float32)
        bound[has_points] = function.reduceat(points, begins[:-1][has_points])
        bounds.append(bound[instances.numpy()])
    return bounds[0], bounds[1]


def _canvases_around(
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    boxes: NDArray[np.float32],
    image_wh: tuple[float, float],
) -> _Canvases:
    """The boxes, rounded outwards, and all polygons, as far as they are in the image.

    Rasterised areas depend on where the canvas begins; this is where the original's did.
    """
    starts, ends = boxes[:, :2], boxes[:, 2:]
    first = np.minimum.reduce([np.floor(starts), ends, low])
    last = np.maximum.reduce([np.floor(ends) + LEGACY_PIXEL_OFFSET, starts, high])
    limit = np.array(image_wh, dtype=np.float32) - LEGACY_PIXEL_OFFSET
    return _canvases(np.maximum(first, 0), np.minimum(last, limit))


def _canvases(first: NDArray[np.float32], last: NDArray[np.float32]) -> _Canvases:
    sizes_wh = np.maximum(last - first, MIN_SIDE).astype(np.int64)
    return _Canvases(origins=first, sizes_hw=sizes_wh[:, ::-1])


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
