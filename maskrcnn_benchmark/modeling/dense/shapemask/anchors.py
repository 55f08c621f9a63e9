"""Anchors of ShapeMask and the code of boxes relative to them (arXiv 1708.02002, section 4).

Shapes: L anchors, A of a cell, Hi x Wi cells of level i, K boxes.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Final

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings

_MAX_LOG_GROWTH: Final = math.log(1000 / 16)
_SIZE_EPS: Final = 1e-8
# Detectron's pixel: a box from x1 to x2 is this much wider than x2 - x1.
_INCLUSIVE: Final = 1.0


class ShapeMaskAnchors:
    """Anchors around the middle of every cell, none of them rounded.

    Args:
        strides: px per cell of each level, finest first.
        settings: sizes and ratios.
    """

    def __init__(self, *, strides: Sequence[int], settings: ShapeMaskSettings) -> None:
        self.strides = tuple(strides)
        self.cells = [_cell(stride, settings) for stride in strides]

    def __call__(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Per level (Hi * Wi * A, 4) xyxy: by row, column, octave, ratio.

        Args:
            features: maps (N, F, Hi, Wi), finest first, as many as there are strides.
        """
        return [
            _at_every_cell(feature, stride, cell)
            for feature, stride, cell in zip(features, self.strides, self.cells, strict=True)
        ]


def _cell(stride: int, settings: ShapeMaskSettings) -> Tensor:
    """(A, 2) float64 width and height of the anchors of a cell."""
    sides = []
    for octave, ratio in product(range(settings.anchor_octaves), settings.anchor_ratios):
        size = settings.anchor_size * stride * 2 ** (octave / settings.anchor_octaves)
        sides.append((size * math.sqrt(ratio), size / math.sqrt(ratio)))
    return torch.tensor(sides, dtype=torch.float64)


def _at_every_cell(feature: Tensor, stride: int, cell: Tensor) -> Tensor:
    height, width = feature.shape[-2:]
    # In double precision on the CPU: a device may not have it.
    y, x = (stride * (torch.arange(cells, dtype=torch.float64) + 0.5) for cells in (height, width))
    shape = (height, width, len(cell), 2)
    centers = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    centers, halves = centers[:, :, None].expand(shape), (cell / 2).expand(shape)
    corners = torch.cat([centers - halves, centers + halves], dim=-1)
    return corners.view(-1, 4).float().to(feature.device)


def decode_boxes(codes: Tensor, anchors: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """(K, 4) xyxy boxes of codes (K, 4) relative to anchors (K, 4), clipped to the canvas.

    The canvas is larger than the photo: boxes may lie in its padding.
    """
    # UPSTREAM(inclusive-decoding): decoding counts an inclusive pixel, encoding does not, so that a
    # perfect code does not give the box back: it is up to about a pixel off. Trained weights
    # expect it.
    sizes = anchors[:, 2:] - anchors[:, :2] + _INCLUSIVE
    centers = anchors[:, :2] + sizes / 2
    centers = codes[:, :2].flip(1) * sizes + centers
    sizes = codes[:, 2:].flip(1).clamp(max=_MAX_LOG_GROWTH).exp() * sizes
    first = centers - sizes / 2
    return clip_boxes(torch.cat([first, first + sizes - _INCLUSIVE], dim=1), canvas_hw)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(K, 4) codes of boxes (K, 4) xyxy to learn; ``decode_boxes`` is not their inverse."""
    sizes, anchor_sizes = (each[:, 2:] - each[:, :2] + _SIZE_EPS for each in (boxes, anchors))
    centers, anchor_centers = ((each[:, :2] + each[:, 2:]) / 2 for each in (boxes, anchors))
    shifts = ((centers - anchor_centers) / anchor_sizes).flip(1)
    return torch.cat([shifts, (sizes / anchor_sizes).log().flip(1)], dim=1)


def clip_boxes(boxes: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) xyxy with their corners moved into [0, side - 1] of the canvas."""
    height, width = canvas_hw
    last = boxes.new_tensor([width, height, width, height]) - _INCLUSIVE
    return boxes.clamp(min=0).minimum(last)
