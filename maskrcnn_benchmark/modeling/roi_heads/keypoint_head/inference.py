"""From heat maps to keypoints.

Shapes: R rois, G rois of a group, P points, S side of the heat maps, H, W rows and columns of a
map resized to its roi, L the larger of them in a group.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import Keypoints, PersonKeypoints

_CUBIC_A = -0.75  # of the cubic convolution, as in OpenCV and PyTorch
_MAX_GROUP_VALUES = 2**23  # of the resized maps that are in memory at once
_MIN_SIDE = 1.0


class LocatedKeypoints(NamedTuple):
    """Where points are, and how sure that is.

    Attributes:
        points: (R, P, 3) x, y in px and 1.
        scores: (R, P) logits at the points.
    """

    points: Tensor
    scores: Tensor


@torch.no_grad()
def heatmaps_to_keypoints(heatmaps: Tensor, rois: Tensor) -> LocatedKeypoints:
    """The place of the maximum of each heat map, resized to its roi.

    A map is resized (bicubic, as OpenCV has it) to as many pixels as its roi has, rounded up; a
    point lies in the middle of the pixel with the highest value.

    Source: Detectron's keypoint inference.

    Args:
        heatmaps: (R, P, S, S) logits.
        rois: (R, 4) px, xyxy.
    """
    sizes = (rois[:, 2:] - rois[:, :2]).clamp(min=_MIN_SIDE)
    num_pixels = sizes.ceil().to(torch.int64)  # (R, 2) of (W, H)
    positions = heatmaps.new_zeros(*heatmaps.shape[:2], 2)
    scores = heatmaps.new_zeros(heatmaps.shape[:2])
    for group in _groups_of_like_size(num_pixels, heatmaps.shape[1]):
        located = _argmax_of_resized(heatmaps[group], num_pixels[group])
        positions[group], scores[group] = located.points, located.scores
    points = (positions + 0.5) * (sizes / num_pixels)[:, None] + rois[:, None, :2]
    return LocatedKeypoints(torch.cat([points, torch.ones_like(points[..., :1])], dim=2), scores)


def _groups_of_like_size(num_pixels: Tensor, num_points: int) -> Iterator[Tensor]:
    """Indices of rois that are resized together, so that little of the common frame is unused."""
    order = num_pixels.amax(dim=1).argsort()
    start, limit = 0, _MAX_GROUP_VALUES // max(num_points, 1)
    sides = num_pixels[order].tolist()
    width = height = 0
    for position, (roi_width, roi_height) in enumerate(sides):
        width, height = max(width, roi_width), max(height, roi_height)
        if position > start and (position - start + 1) * width * height > limit:
            yield order[start:position]
            start, width, height = position, roi_width, roi_height
    if sides:
        yield order[start:]


def _argmax_of_resized(heatmaps: Tensor, num_pixels: Tensor) -> LocatedKeypoints:
    """Column and row (G, P, 2) of each resized map's maximum, and its value (G, P)."""
    num_columns, num_rows = num_pixels.unbind(dim=1)
    to_rows = _bicubic_matrices(num_rows, heatmaps)[:, None]  # (G, 1, H, S)
    to_columns = _bicubic_matrices(num_columns, heatmaps)[:, None]  # (G, 1, W, S)
    # Half precision has too few values to find a maximum by.
    with torch.autocast(heatmaps.device.type, enabled=False):
        resized = to_rows @ heatmaps @ to_columns.mT  # (G, P, H, W)
    height, width = resized.shape[2:]
    unused = _beyond(num_rows, height)[:, :, None] | _beyond(num_columns, width)[:, None, :]
    resized.masked_fill_(unused[:, None], -torch.inf)
    scores, best = resized.flatten(2).max(dim=2)
    positions = torch.stack([best % width, best.div(width, rounding_mode="floor")], dim=2)
    return LocatedKeypoints(positions.to(heatmaps), scores)


def _beyond(lengths: Tensor, longest: int) -> Tensor:
    """(G, L) bool: positions at or after the end of each."""
    return torch.arange(longest, device=lengths.device) >= lengths[:, None]


def _bicubic_matrices(lengths: Tensor, like: Tensor) -> Tensor:
    """(G, L, S) matrices that resize S values to each of ``lengths``; later rows mean nothing.

    Source: cubic convolution (Keys 1981), half-pixel centres, the border repeated.
    """
    side, longest = like.shape[-1], int(lengths.max())
    target = torch.arange(longest, dtype=like.dtype, device=like.device)
    source = (target + 0.5) * (side / lengths[:, None].to(like)) - 0.5  # (G, L)
    first = source.floor()
    offsets = torch.arange(-1, 3, device=like.device)
    distances = (source - first)[..., None] - offsets  # (G, L, 4)
    taps = (first[..., None].to(torch.int64) + offsets).clamp(0, side - 1)
    matrices = like.new_zeros(len(lengths), longest, side)
    return matrices.scatter_add_(2, taps, _cubic_kernel(distances.abs()))


def _cubic_kernel(distance: Tensor) -> Tensor:
    near = ((_CUBIC_A + 2) * distance - (_CUBIC_A + 3)) * distance.square() + 1
    far = _CUBIC_A * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, far)


def attach_keypoints(
    detections: Sequence[BoxList], heatmaps: Tensor, *, pixel_offset: int = LEGACY_PIXEL_OFFSET
) -> list[BoxList]:
    """The detections with the field ``keypoints``, whose own field ``logits`` has (K, P) scores.

    Args:
        detections: one BoxList an image.
        heatmaps: (R, P, S, S) logits of all detections of all images in their order.
        pixel_offset: what their coordinates are taken for, see ``Keypoints``.
    """
    num_persons_points = len(PersonKeypoints.NAMES)
    kind = PersonKeypoints if heatmaps.shape[1] == num_persons_points else Keypoints
    results = []
    sizes = [len(boxes) for boxes in detections]
    for boxes, maps in zip(detections, torch.split(heatmaps, sizes), strict=True):
        located = heatmaps_to_keypoints(maps, boxes.convert("xyxy").bbox)
        keypoints = kind(located.points, boxes.size, pixel_offset=pixel_offset)
        keypoints.add_field("logits", located.scores)
        results.append(boxes.with_field("keypoints", keypoints))
    return results
