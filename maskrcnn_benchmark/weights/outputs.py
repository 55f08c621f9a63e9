"""Rows of output layers in the order and units that they have here.

Shapes: O outputs of a layer, which are the rows of its weight and the entries of its bias.
"""

from typing import Final

import torch
from torch import Tensor

from maskrcnn_benchmark.weights.load_report import CheckpointError

RETINANET_BOX_WEIGHTS: Final = (10.0, 10.0, 5.0, 5.0)
"""RetinaNet's box codes are weighted so here; other programs regress plain offsets."""
_RETINANET_SCALES: Final = 3
_RETINANET_SHAPES: Final = 3
_BOX_SIDES: Final = 4


def shapes_first(name: str, tensor: Tensor) -> Tensor:
    """Weight or bias of an output of RetinaNet's nine anchors, shape by shape.

    Detectron and its successor count them scale by scale.

    Raises:
        CheckpointError: the number of outputs is not that of 9 anchors; ``name`` is the layer's.
    """
    num_anchors = _RETINANET_SCALES * _RETINANET_SHAPES
    if len(tensor) % num_anchors:
        raise CheckpointError(
            f"{name}: expected a multiple of {num_anchors} outputs (3 scales, 3 shapes), "
            f"got {len(tensor)}"
        )
    by_scale = tensor.reshape(_RETINANET_SCALES, _RETINANET_SHAPES, -1, *tensor.shape[1:])
    return by_scale.transpose(0, 1).flatten(0, 2).contiguous()


def weighted_offsets(tensor: Tensor) -> Tensor:
    """Weight or bias (O, ...) of plain box offsets, four an anchor, for weighted ones."""
    per_anchor = tensor.reshape(-1, _BOX_SIDES, *tensor.shape[1:])
    weights = tensor.new_tensor(RETINANET_BOX_WEIGHTS).view(-1, *[1] * (tensor.dim() - 1))
    return (per_anchor * weights).flatten(0, 1)


def background_first(tensor: Tensor) -> Tensor:
    """Weight or bias of class scores whose last row is the background's."""
    return torch.cat([tensor[-1:], tensor[:-1]])


def with_unused_class(tensor: Tensor, rows_of_class: int = 1) -> Tensor:
    """Weight or bias of foreground classes with rows for the background, which nothing reads."""
    return torch.cat([torch.zeros_like(tensor[:rows_of_class]), tensor])


def with_unused_boxes(tensor: Tensor) -> Tensor:
    """The same of box offsets, four a class."""
    return with_unused_class(tensor, _BOX_SIDES)
