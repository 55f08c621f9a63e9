"""Which window learns which object (arXiv 1903.12174, section 5.2).

Shapes: A window sizes of a cell, Li windows of level i, L over all levels, G objects of an image, P
windows that learn one.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

_LARGEST_DISTANCE: Final = 1.0
"""Between the centres of object and window, strides."""
# Cells whose corner may be that near lie from one before the object's centre to two behind it.
_NEAR: Final = range(-1, 3)


class Matches(NamedTuple):
    """The windows of one image that learn an object, in their order.

    Attributes:
        windows: (P,) numbers in [0, L).
        objects: (P,) numbers in [0, G).
    """

    windows: Tensor
    objects: Tensor


class WindowMatcher:
    """Matches windows with objects: those that hold it, of its size, at its centre.

    Args:
        strides: px per cell of each level, finest first.
        smallest: the finest windows take all objects whose longer side is at most half this, px.
    """

    def __init__(self, *, strides: Sequence[int], smallest: float) -> None:
        self.strides = tuple(strides)
        self.smallest = smallest

    @torch.no_grad()
    def __call__(
        self, anchors: Sequence[Tensor], maps_hw: Sequence[tuple[int, int]], boxes: Tensor
    ) -> Matches:
        """The matches of one image; a window that two objects claim learns neither.

        Args:
            anchors: per level (Li, 4) windows, by row, column and size.
            maps_hw: rows and columns of each level.
            boxes: (G, 4) xyxy px.
        """
        windows, objects, start = [], [], 0
        for level, map_hw, stride in zip(anchors, maps_hw, self.strides, strict=True):
            claims = self._claims(level, map_hw, stride, boxes)
            windows.append(claims.windows + start)
            objects.append(claims.objects)
            start += len(level)
        return _undisputed(Matches(torch.cat(windows), torch.cat(objects)))

    def _claims(
        self, anchors: Tensor, map_hw: tuple[int, int], stride: int, boxes: Tensor
    ) -> Matches:
        """All pairs of a level that fit; only cells around an object's centre are looked at."""
        height, width = map_hw
        num_sizes = len(anchors) // max(height * width, 1)
        near = torch.tensor(_NEAR, device=boxes.device)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        first = (centers / stride).floor().long()[:, :, None] + near
        columns, rows = first[:, 0, None, :, None], first[:, 1, :, None, None]
        sizes = torch.arange(num_sizes, device=boxes.device)
        # Of shape (G, 4, 4, A).
        inds = (rows * width + columns) * num_sizes + sizes
        is_in_map = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        place = is_in_map.expand_as(inds).nonzero(as_tuple=True)
        objects, windows = place[0], inds[place]
        fits = self._fit(anchors[windows], boxes[objects], stride)
        return Matches(windows[fits], objects[fits])

    def _fit(self, anchors: Tensor, boxes: Tensor, stride: int) -> Tensor:
        """Whether each window learns the object beside it."""
        holds = (boxes[:, :2] >= anchors[:, :2]) & (boxes[:, 2:] <= anchors[:, 2:])
        side = (anchors[:, 2:] - anchors[:, :2]).amax(dim=1)
        longest = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
        is_small = side - stride <= (2 * longest).clamp(min=self.smallest)
        centers = (anchors[:, :2] + anchors[:, 2:]) / 2
        distance = (centers - (boxes[:, :2] + boxes[:, 2:]) / 2).norm(dim=1) / stride
        fits: Tensor = holds.all(dim=1) & is_small & (distance <= _LARGEST_DISTANCE)
        return fits


def _undisputed(claims: Matches) -> Matches:
    """Of all claims those of windows that have one alone, by window."""
    # UPSTREAM(two-claims): a window that two objects claim is background, not the nearer one's.
    _, inverse, counts = torch.unique(claims.windows, return_inverse=True, return_counts=True)
    (alone,) = (counts[inverse] == 1).nonzero(as_tuple=True)
    alone = alone[claims.windows[alone].argsort()]
    return Matches(claims.windows[alone], claims.objects[alone])
