"""Shapes of objects by themselves, without the photo around them."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList


class Outline(NamedTuple):
    """One object.

    Attributes:
        label: its class, from 1.
        mask: (h, w) bool, as large as the smallest box that holds it.
    """

    label: int
    mask: Tensor


def tight_outlines(target: BoxList) -> Iterator[Outline]:
    """The objects of a target with ``masks`` in turn; those that cover no pixel are left out."""
    if len(target) == 0:
        return
    # One at a time: bitmaps of a large photo are large.
    for label, own in zip(target.labels.tolist(), target.get_field("masks"), strict=True):
        bitmap = own.to_bitmasks()[0]
        rows, columns = (torch.nonzero(bitmap.any(dim=axis)).squeeze(1) for axis in (1, 0))
        if len(rows) > 0:
            tight = bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            # A view would keep the bitmap of the whole photo.
            yield Outline(label, tight.clone())
