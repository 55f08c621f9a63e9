"""Masks that are mixtures of maps which all objects of an image share, cropped to their boxes.

Shapes: K instances, P prototypes, h x w their cells, H x W the image.
Source: YOLACT (Bolya et al., arXiv 1904.02689), sections 3.3 and 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.layers.mask_resize import MASK_THRESHOLD, CellReader
from maskrcnn_benchmark.structures.indexing import InstanceIndex, as_index
from maskrcnn_benchmark.structures.paste_rules import PastedMask, SizeWH
from maskrcnn_benchmark.structures.predicted_masks import PredictedMasks

# UPSTREAM(crop-padding): masks are cropped before they are enlarged, and with a cell around the
# box, so that they may leave it by several pixels.
_CROP_PADDING = 1
# Columns of an image that are made at a time.
_COLUMNS_AT_ONCE = 128


def mix_prototypes(prototypes: Tensor, coefficients: Tensor, boxes: Tensor) -> Tensor:
    """(K, h, w) probabilities of masks, 0 outside of their boxes; differentiable.

    Args:
        prototypes: (P, h, w).
        coefficients: (K, P).
        boxes: (K, 4) xyxy in parts of the image, corners in any order.
    """
    num_prototypes, height, width = prototypes.shape
    # Autocast would compute the product in half precision.
    with torch.autocast(prototypes.device.type, enabled=False):
        mixed = coefficients @ prototypes.reshape(num_prototypes, height * width)
    bounds = crop_bounds(boxes, (height, width))
    x, y = (torch.arange(n, device=boxes.device) for n in (width, height))
    in_columns = (x >= bounds[:, 0, None]) & (x < bounds[:, 2, None])
    in_rows = (y >= bounds[:, 1, None]) & (y < bounds[:, 3, None])
    is_inside = in_rows[:, :, None] & in_columns[:, None, :]
    return mixed.sigmoid().view(-1, height, width) * is_inside


def crop_bounds(boxes: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """(K, 4) xyxy in cells: column k stays if x1 <= k < x2, rows alike.

    Args:
        boxes: (K, 4) xyxy in parts of the image, corners in any order.
        grid_hw: cells of the prototypes.
    """
    scale = boxes.new_tensor([grid_hw[1], grid_hw[0]])
    corners = boxes.view(-1, 2, 2) * scale
    first = (corners.amin(dim=1) - _CROP_PADDING).clamp(min=0)
    last = torch.minimum(corners.amax(dim=1) + _CROP_PADDING, scale)
    return torch.cat([first, last], dim=1)


@dataclass(frozen=True, eq=False)
class PrototypeMasks(PredictedMasks):
    """Mixtures of prototypes; an image's pixels are computed where a mask may be, and only there.

    Args:
        prototypes: (P, h, w) maps over the whole image.
        coefficients: (K, P).
        boxes: (K, 4) xyxy in parts of the image, corners in any order.
        size: (w, h) of the image.

    Raises:
        ValueError: numbers of coefficients or boxes that do not fit.
    """

    prototypes: Tensor
    coefficients: Tensor
    boxes: Tensor
    size: SizeWH

    def __post_init__(self) -> None:
        expected = (len(self.boxes), len(self.prototypes))
        if self.coefficients.shape != expected or self.boxes.shape[1:] != (4,):
            raise ValueError(
                f"expected coefficients {expected} and boxes (K, 4) with prototypes "
                f"{tuple(self.prototypes.shape)}, got {tuple(self.coefficients.shape)} and "
                f"{tuple(self.boxes.shape)}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, item: InstanceIndex) -> PrototypeMasks:
        index = as_index(item, len(self), self.boxes.device)
        return replace(self, coefficients=self.coefficients[index], boxes=self.boxes[index])

    def cat(self, others: Sequence[PrototypeMasks]) -> PrototypeMasks:
        """See ``PredictedMasks``.

        Raises:
            ValueError: other prototypes.
        """
        parts = [self, *others]
        first = self.prototypes
        for other in others:
            if other.prototypes is not first and not torch.equal(other.prototypes, first):
                raise ValueError("masks of different prototypes cannot be joined")
        coefficients = torch.cat([part.coefficients for part in parts])
        boxes = torch.cat([part.boxes for part in parts])
        return replace(self, coefficients=coefficients, boxes=boxes)

    def to(self, device: torch.device | str) -> PrototypeMasks:
        """See ``PredictedMasks``."""
        prototypes, coefficients = self.prototypes.to(device), self.coefficients.to(device)
        boxes = self.boxes.to(device)
        return replace(self, prototypes=prototypes, coefficients=coefficients, boxes=boxes)

    def resize(self, size: SizeWH) -> PrototypeMasks:
        """See ``PredictedMasks``."""
        return replace(self, size=size)

    def probabilities(self) -> Tensor:
        """(K, h, w) in cells of the prototypes, cropped."""
        return mix_prototypes(self.prototypes, self.coefficients, self.boxes)

    @torch.no_grad()
    def crops(self) -> Iterator[PastedMask]:
        """See ``PredictedMasks``.

        Cropped probabilities are resized (bilinear) to the image; pixels above 1/2 are set.
        """
        width, height = self.size
        prototypes = self.prototypes.detach().cpu().float()
        cells_hw = prototypes.shape[1], prototypes.shape[2]
        # By row, column, prototype: windows then are nearly whole.
        cells = prototypes.permute(1, 2, 0).contiguous()
        by_x, by_y = CellReader(cells_hw[1], width), CellReader(cells_hw[0], height)
        bounds = crop_bounds(self.boxes.detach().cpu().float(), cells_hw).ceil().int().tolist()
        coefficients = self.coefficients.detach().cpu().float()
        for weights, (x1, y1, x2, y2) in zip(coefficients, bounds, strict=True):
            (x0, x3), (y0, y3) = by_x.readers(x1, x2), by_y.readers(y1, y2)
            if x3 <= x0 or y3 <= y0:
                yield PastedMask(0, 0, np.zeros((0, 0), dtype=np.uint8))
                continue
            columns, rows = by_x.weights[x0:x3, x1:x2], by_y.weights[y0:y3, y1:y2]
            mask = (cells[y1:y2, x1:x2] @ weights).sigmoid_()
            yield PastedMask(x0, y0, _enlarge(columns, mask.T @ rows.T).T)


def _enlarge(columns: Tensor, by_row: Tensor) -> NDArray[np.uint8]:
    """(W', H') 0 or 1: the mask transposed, of weights (W', w) and a mask (w, H')."""
    result = torch.empty((len(columns), by_row.shape[1]), dtype=torch.bool)
    for start in range(0, len(columns), _COLUMNS_AT_ONCE):
        weights = columns[start : start + _COLUMNS_AT_ONCE]
        # A pixel reads two cells, so that neighbours leave most of a large mask alone.
        read = weights.amax(dim=0).nonzero().flatten().tolist()
        cells = slice(read[0], read[-1] + 1) if read else slice(0)
        part = weights[:, cells] @ by_row[cells]
        torch.gt(part, MASK_THRESHOLD, out=result[start : start + _COLUMNS_AT_ONCE])
    pixels: NDArray[np.uint8] = result.numpy().view(np.uint8)
    return pixels
