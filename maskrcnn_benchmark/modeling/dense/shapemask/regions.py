"""Where the mask branch looks: outer boxes, levels, crops, and masks brought from box to box.

Shapes: R boxes, F channels, M side of a crop or mask (32); Hi x Wi cells of level i.
Source: behaviour of the authors' program.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.dense.shapemask.anchors import clip_boxes

SIDE: Final = 32
"""M of crops, priors and coarse masks."""
_MASK_PADDING: Final = 2
_EPS: Final = 1e-8
# An outer box of this side, px, is read from the level of stride 16.
_CANONICAL_SIDE: Final = 224
_CANONICAL_STRIDE: Final = 16


def outer_boxes(boxes: Tensor, scale: float, canvas_hw: tuple[int, int]) -> Tensor:
    """Boxes (R, 4) enlarged about their centres, clipped to the canvas."""
    centers, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * scale / 2
    return clip_boxes(torch.cat([centers - halves, centers + halves], dim=1), canvas_hw)


def jittered_boxes(boxes: Tensor, noise: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """Boxes (R, 4) moved and resized by noise (R, 4), clipped to the canvas.

    Columns of the noise: shift of x and of y in parts of the sides, logarithms of the factors of
    width and height.
    """
    sizes = boxes[:, 2:] - boxes[:, :2]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 + noise[:, :2] * sizes
    halves = sizes * noise[:, 2:].exp() / 2
    return clip_boxes(torch.cat([centers - halves, centers + halves], dim=1), canvas_hw)


def levels_of(outer: Tensor, strides: Sequence[int]) -> Tensor:
    """(R,) index of the map that each outer box (R, 4) is read from."""
    # Boxes decoded to less than a px have a corner on the wrong side: less than no area.
    sides = (outer[:, 2:] - outer[:, :2]).prod(dim=1).clamp(min=0).sqrt()
    first = round(math.log2(strides[0] / _CANONICAL_STRIDE))
    # Of an area of 0 the logarithm is minus infinity, which is clamped, too.
    octaves = ((sides / _CANONICAL_SIDE).log() / math.log(2)).floor() - first
    return octaves.clamp(min=0, max=len(strides) - 1).long()


def crop_features(
    features: Sequence[Tensor], outer: Sequence[Tensor], strides: Sequence[int]
) -> Tensor:
    """(R, F, M, M) of the outer boxes of all images, in order.

    Args:
        features: maps (N, F, Hi, Wi), finest first.
        outer: for each image (Ri, 4) xyxy px of the canvas.
        strides: px per cell of the maps.
    """
    # Without any image or box there are none, of as many channels.
    parts = [features[0].new_zeros((0, features[0].shape[1], SIDE, SIDE)).float()]
    order, start = [torch.zeros(0, dtype=torch.int64, device=features[0].device)], 0
    for image, boxes in enumerate(outer):
        levels = levels_of(boxes, strides)
        for level, (feature, stride) in enumerate(zip(features, strides, strict=True)):
            (inds,) = (levels == level).nonzero(as_tuple=True)
            parts.append(_crop(feature[image].float(), boxes[inds] / stride))
            order.append(inds + start)
        start += len(boxes)
    return torch.cat(parts)[torch.cat(order).argsort()]


def _crop(feature: Tensor, boxes: Tensor) -> Tensor:
    """(R, F, M, M) of a map (F, H, W), bilinear; boxes (R, 4) in cells."""
    # UPSTREAM(crop-alignment): cells lie at whole numbers, and bins are read in their middles:
    # half a cell off from where the features were computed. Priors are read at the left edges of
    # bins, targets from the first pixel to the last. Trained weights expect all three.
    steps = (torch.arange(SIDE, device=boxes.device) + 0.5) / SIDE
    first, sizes = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[..., None]
    x, y = (first + steps * sizes).unbind(dim=1)
    grid = _grid(x, y, feature.shape[-2:]).view(1, len(boxes) * SIDE, SIDE, 2)
    read = F.grid_sample(feature[None], grid, padding_mode="border", align_corners=True)
    return read.view(len(feature), len(boxes), SIDE, SIDE).transpose(0, 1)


def _grid(x: Tensor, y: Tensor, size_hw: Sequence[int]) -> Tensor:
    """(R, M, M, 2) places for ``grid_sample``, of columns x and rows y (R, M)."""
    height, width = (max(cells - 1, 1) for cells in size_hw)
    columns, rows = x * (2 / width) - 1, y * (2 / height) - 1
    shape = (len(x), y.shape[1], x.shape[1])
    return torch.stack([columns[:, None].expand(shape), rows[..., None].expand(shape)], dim=-1)


def masks_in_outer(masks: Tensor, boxes: Tensor, outer: Tensor) -> Tensor:
    """(R, M, M) what masks (R, M, M) of the boxes (R, 4) are in the outer boxes (R, 4)."""
    padded = F.pad(masks, [_MASK_PADDING] * 4)
    scales = SIDE / (boxes[:, 2:] - boxes[:, :2] + _EPS)
    first = (outer[:, :2] - boxes[:, :2]) * scales + _MASK_PADDING
    steps = torch.arange(SIDE, device=boxes.device) / SIDE
    x, y = (first[..., None] + steps * ((outer[:, 2:] - outer[:, :2]) * scales)[..., None]).unbind(
        dim=1
    )
    # Beyond the padding all is 0, so that places can be brought back there.
    last = float(padded.shape[-1] - 1)
    grid = _grid(x.clamp(0, last), y.clamp(0, last), padded.shape[-2:])
    read = F.grid_sample(padded[:, None], grid, padding_mode="border", align_corners=True)
    return read[:, 0]
