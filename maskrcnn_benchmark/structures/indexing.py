"""What boxes and the masks that go with them agree on: ``container[item]`` and flips."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor

FLIP_LEFT_RIGHT: Final = 0
FLIP_TOP_BOTTOM: Final = 1
FLIP_DIAGONAL: Final = 5
"""x and y change places; with the other two it makes all quarter turns. Numbers as in Pillow."""


def check_flip(method: int) -> None:
    """Raise ValueError unless ``method`` is one of the three."""
    if method not in (FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, FLIP_DIAGONAL):
        raise ValueError(
            f"method must be FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM or FLIP_DIAGONAL, not {method!r}"
        )


InstanceIndex: TypeAlias = Union[
    int, slice, Tensor, "np.ndarray[Any, Any]", Sequence[int], Sequence[bool]
]


def as_index(
    item: InstanceIndex, length: int, device: torch.device | str = "cpu"
) -> slice | Tensor:
    """``item`` as a slice or a (n,) index tensor, so that the first dimension always stays.

    Args:
        item: an int (negative counts from the end), a slice, or a bool / integer tensor, array or
            list. Several uint8 are a mask, as in PyTorch.
        length: number of instances indexed.
        device: where an index tensor has to live.

    Raises:
        IndexError: an int outside ``[-length, length)``, a mask that is not (length,), or an index
            of several dimensions.
    """
    if isinstance(item, slice):
        return item
    if isinstance(item, int):
        if not -length <= item < length:
            raise IndexError(f"index {item} is out of range for {length} instances")
        start = item % length
        return slice(start, start + 1)
    index = torch.as_tensor(item, device=device)
    if index.ndim > 1:
        raise IndexError(f"an index must have one dimension, not the shape {tuple(index.shape)}")
    if index.dtype == torch.uint8:
        index = index.bool() if index.ndim else index.long()
    if index.dtype == torch.bool and index.shape != (length,):
        raise IndexError(f"a mask of shape {tuple(index.shape)} cannot index {length} instances")
    if index.dtype == torch.bool:
        # Here, and not in every field that is indexed: on a GPU each time waits for the count.
        return index.nonzero().squeeze(1)
    if index.numel() == 0:
        index = index.long()
    return index.reshape(-1)
