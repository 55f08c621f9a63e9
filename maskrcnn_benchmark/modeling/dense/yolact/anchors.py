"""Anchors of YOLACT and the code of boxes relative to them (arXiv 1904.02689, section 5).

Shapes: L anchors, A of a cell, Hi x Wi cells of level i, K boxes.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.dense.yolact.settings import YolactSettings

_CENTER_SCALE = 0.1
_SIZE_SCALE = 0.2
# No box of an image is so much larger than an anchor, and infinite ones would have no centre.
_MAX_LOG_GROWTH = math.log(1e4)


class YolactAnchors:
    """Anchors in parts of the image, so that they do not depend on its size.

    Args:
        settings: sizes and ratios.
    """

    def __init__(self, settings: YolactSettings) -> None:
        self.cells = [_cell(size, settings) for size in settings.anchor_sizes]

    def __call__(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Per level (Hi * Wi * A, 4) centre x, y, width, height: by row, column, anchor of a cell.

        Args:
            features: maps (N, F, Hi, Wi), finest first, as many as there are sizes.
        """
        return [
            _at_every_cell(feature, cell)
            for feature, cell in zip(features, self.cells, strict=True)
        ]


def _cell(size: float, settings: YolactSettings) -> Tensor:
    """(A, 2) float64 width and height of the anchors of a cell."""
    sides = []
    for scale, ratio in product(settings.anchor_scales, settings.anchor_ratios):
        width = size * scale * math.sqrt(ratio) / settings.anchor_frame
        height = size * scale / math.sqrt(ratio) / settings.anchor_frame
        # UPSTREAM(square-anchors): the height of the released models is their width.
        sides.append((width, width if settings.square_anchors else height))
    return torch.tensor(sides, dtype=torch.float64)


def _at_every_cell(feature: Tensor, cell: Tensor) -> Tensor:
    height, width = feature.shape[-2:]
    # In double precision: a device may not have it, and rounding in between would show.
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / max(height, 1)
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / max(width, 1)
    shape = (height, width, len(cell))
    columns = (
        x[None, :, None].expand(shape),
        y[:, None, None].expand(shape),
        cell[:, 0].expand(shape),
        cell[:, 1].expand(shape),
    )
    return torch.stack(columns, dim=-1).view(-1, 4).float().to(feature.device)


def anchor_corners(anchors: Tensor) -> Tensor:
    """(K, 4) xyxy of (K, 4) centre x, y, width, height."""
    centers, sizes = anchors[:, :2], anchors[:, 2:]
    return torch.cat([centers - sizes / 2, centers + sizes / 2], dim=1)


def decode_boxes(codes: Tensor, anchors: Tensor) -> Tensor:
    """(K, 4) xyxy boxes of codes (K, 4) relative to anchors (K, 4); they may leave the image."""
    centers = anchors[:, :2] + codes[:, :2] * _CENTER_SCALE * anchors[:, 2:]
    sizes = anchors[:, 2:] * torch.exp((codes[:, 2:] * _SIZE_SCALE).clamp(max=_MAX_LOG_GROWTH))
    first = centers - sizes / 2
    return torch.cat([first, first + sizes], dim=1)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(K, 4) codes that ``decode_boxes`` turns into these boxes (K, 4) xyxy of some extent."""
    centers = ((boxes[:, :2] + boxes[:, 2:]) / 2 - anchors[:, :2]) / (
        _CENTER_SCALE * anchors[:, 2:]
    )
    sizes = torch.log((boxes[:, 2:] - boxes[:, :2]) / anchors[:, 2:]) / _SIZE_SCALE
    return torch.cat([centers, sizes], dim=1)
