"""How masks of boxes are resized, for tensors; the arithmetic is ``centermask_runtime.masks``'."""

import numpy as np
import torch
from torch import Tensor

from centermask_runtime.masks import MASK_PADDING as MASK_PADDING
from centermask_runtime.masks import MASK_THRESHOLD as MASK_THRESHOLD
from centermask_runtime.masks import FloatArray, cell_positions


def check_finite(boxes: Tensor) -> None:
    """Refuse boxes that are not finite, with a ValueError."""
    if not torch.isfinite(boxes).all():
        raise ValueError("boxes: expected finite numbers")


def as_array(tensor: Tensor) -> FloatArray:
    """The numbers of a tensor as a float32 array."""
    numbers: FloatArray = tensor.detach().float().cpu().numpy()
    return numbers


class CellReader:
    """How a row of cells is read where it is resized, bilinearly and without corner alignment.

    Args:
        length: cells of the row.
        full: cells that it is resized to.

    Attributes:
        weights: (full, length) float32; the product with it is what
            ``torch.nn.functional.interpolate`` gives, up to rounding.
    """

    def __init__(self, length: int, full: int) -> None:
        position = cell_positions(0, full, full, length)
        self._lower = position.astype(np.int64)
        self._upper = np.minimum(self._lower + 1, length - 1)
        place, share = np.arange(full), position - self._lower
        weights = np.zeros((full, length), dtype=np.float32)
        weights[place, self._lower] = 1 - share
        weights[place, self._upper] += share
        self.weights = torch.from_numpy(weights)

    def readers(self, first: int, last: int) -> tuple[int, int]:
        """First and last (excluded) of the resized cells that read ``first`` .. ``last - 1``."""
        if last <= first:
            return 0, 0
        start, stop = self._upper.searchsorted(first), self._lower.searchsorted(last)
        return int(start), int(stop)
