"""Masks of single windows, without those of all others.

``swap_align2nat`` of all masks is 144 million numbers of a photo of 800 x 1344 px, of which a
hundred masks are wanted. Its four axes separate: a cell of an enlarged window is the product of the
features at one place, averaged over the cells around it, with a filter that is interpolated for
this cell of the window.

Shapes: N images, F channels, H x W cells of a map, V cells of a stored window's side, S of an
enlarged one's, R windows, r rows of a strip of them.
Source: TensorMask (Chen et al., arXiv 1903.12174); the separation is this project's.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from maskrcnn_benchmark.layers.swap_align2nat import OUTSIDE_LOGIT, window_weights
from maskrcnn_benchmark.modeling.dense.tensormask.head import TensorMaskOutputs
from maskrcnn_benchmark.modeling.dense.tensormask.places import Places

# Features that are gathered at a time: 32 MiB.
_MAX_GATHERED = 2**23


class Windows(NamedTuple):
    """Windows of one level and size, whose masks have one side.

    Attributes:
        inds: (R,) which of the wanted ones they are.
        logits: (R, S, S) their masks.
    """

    inds: Tensor
    logits: Tensor


class _Averages(NamedTuple):
    """What lies at the places that windows read, with zeros around.

    Attributes:
        cells: (N, h, w, F) features, averaged over 1 or 2 x 2 cells.
        shares: (h, w) which part of these cells is inside of the map.
    """

    cells: Tensor
    shares: Tensor


class FeatureMap:
    """A map as windows read it; each kind of averages is made once.

    Args:
        maps: (N, F, H, W) features.
    """

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps
        self._made: dict[bool, _Averages] = {}

    def averages(self, *, is_between: bool) -> _Averages:
        """Averages between four cells, or the cells themselves."""
        if is_between not in self._made:
            self._made[is_between] = _averages(self.maps, is_between=is_between)
        return self._made[is_between]


class WindowReader:
    """Reads masks from the predictions of the head.

    Args:
        factors: for each level how many times as many cells its masks have as they are stored with.
        num_sizes: windows of a cell.
        aligned: a pixel stores the masks of all windows that cover it, not a cell its own.
    """

    def __init__(self, *, factors: Sequence[int], num_sizes: int, aligned: bool) -> None:
        self.factors = tuple(factors)
        self.num_sizes = num_sizes
        self.aligned = aligned

    def read(self, outputs: TensorMaskOutputs, images: Tensor, places: Places) -> Iterator[Windows]:
        """The masks of K windows, those of one level and size together; differentiable.

        Args:
            outputs: predictions of the head.
            images: (K,) which image each window is in.
            places: of the windows.
        """
        for level, factor in enumerate(self.factors):
            features = FeatureMap(outputs.mask_maps[level])
            for size, (filters, biases) in enumerate(
                zip(outputs.filters, outputs.biases, strict=True)
            ):
                is_wanted = (places.levels == level) & (places.sizes == size)
                (inds,) = is_wanted.nonzero(as_tuple=True)
                if len(inds) == 0:
                    continue
                cells = torch.stack([each[inds] for each in (images, places.rows, places.columns)])
                read = read_windows if self.aligned else _read_cells
                # Masks are products of matrices, which autocast would compute in half precision.
                with torch.autocast(images.device.type, enabled=False):
                    logits = read(features, filters, biases, cells, factor)
                yield Windows(inds, logits)


def _read_cells(
    features: FeatureMap, filters: Tensor, biases: Tensor, places: Tensor, _factor: int
) -> Tensor:
    """(R, V, V) masks that cells store of themselves; arguments as for ``read_windows``."""
    side = round(len(filters) ** 0.5)
    images, rows, columns = places
    of_cells = features.maps[images, :, rows, columns]
    return F.linear(of_cells, filters, biases).view(-1, side, side)


def read_windows(
    features: FeatureMap, filters: Tensor, biases: Tensor, places: Tensor, factor: int
) -> Tensor:
    """(R, S, S) windows of ``swap_align2nat`` of a 1x1 convolution; differentiable.

    Args:
        features: what the convolution is of.
        filters: (V * V, F) of the convolution.
        biases: (V * V,).
        places: (3, R) image, row and column of each window in the operator's result.
        factor: the operator's.
    """
    maps, side = features.maps, round(len(filters) ** 0.5)
    weights = window_weights(side, factor, maps.device).to(maps)
    averages = features.averages(is_between=side * factor % 2 == 0)
    num_channels, num_windows = maps.shape[1], places.shape[1]
    cost_of_row = max(len(weights) * max(num_windows, 1) * num_channels, 1)
    strip = max(_MAX_GATHERED // cost_of_row, 1)
    corners = _corners(places, side, factor)
    needs_graph = torch.is_grad_enabled() and (maps.requires_grad or filters.requires_grad)
    parts = []
    for start in range(0, len(weights), strip):
        inputs = (averages.cells, averages.shares, filters, biases, weights, corners, start, strip)
        if needs_graph:
            # Gathered features are as many as the masks' cells times F: they are made anew.
            part = checkpoint(_read_strip, *inputs, use_reentrant=False, preserve_rng_state=False)
        else:
            part = _read_strip(*inputs)
        parts.append(part)
    return torch.cat(parts, dim=1)


def _averages(maps: Tensor, *, is_between: bool) -> _Averages:
    inside = maps.new_ones(1, 1, *maps.shape[2:])
    frame = (2, 2, 2, 2) if is_between else (1, 1, 1, 1)
    # All features of a place are gathered together.
    by_place = maps.contiguous(memory_format=torch.channels_last)
    planes = [F.pad(each, frame) for each in (by_place, inside)]
    if is_between:
        planes = [F.avg_pool2d(each, 2, stride=1) for each in planes]
    return _Averages(planes[0].permute(0, 2, 3, 1).contiguous(), planes[1][0, 0])


def _corners(places: Tensor, side: int, factor: int) -> Tensor:
    """(3, R) image, and first row and column of ``_Averages.cells`` that each window reads."""
    enlarged = side * factor
    # Cells are framed by one; the averages between them by two, and the first is half a cell early.
    frame = 1 if enlarged % 2 else 2
    first = factor * places[1:] - enlarged // 2 + frame
    return torch.cat([places[:1], first])


def _read_strip(
    cells: Tensor,
    shares: Tensor,
    filters: Tensor,
    biases: Tensor,
    weights: Tensor,
    corners: Tensor,
    start: int,
    length: int,
) -> Tensor:
    """(R, r, S) logits of some rows of the windows, from ``start`` on."""
    side, num_channels = weights.shape[1], filters.shape[1]
    of_rows = weights[start : start + length]
    num_rows, enlarged = len(of_rows), len(weights)
    # Filters and biases of every cell: (r, S, F) and (r, S).
    by_row = of_rows @ filters.view(side, side * num_channels)
    by_cell = weights @ by_row.view(num_rows, side, num_channels)
    bias = of_rows @ biases.view(side, side) @ weights.T
    inside = of_rows.sum(dim=1)[:, None] * weights.sum(dim=1)
    height, width = shares.shape
    within = torch.arange(enlarged, device=cells.device)
    rows = (corners[1] + within[start : start + length, None]).clamp(0, height - 1)
    columns = (corners[2] + within[:, None]).clamp(0, width - 1)
    # Of shape (r, S, R).
    places = rows[:, None] * width + columns
    share = shares.flatten()[places]
    inds = corners[0] * (height * width) + places
    read = F.embedding(inds, cells.view(-1, num_channels))
    # The backward pass of as many products of vectors by ``bmm`` takes ten times as long.
    logits = (read * by_cell[:, :, None]).sum(dim=3) + bias[..., None] * share
    logits = logits + OUTSIDE_LOGIT * (1 - inside[..., None] * share)
    return logits.permute(2, 0, 1)
