"""Masks pasted into run lengths: schema and shape function."""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Operator


def _fake(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, padding: int
) -> tuple[Tensor, Tensor]:
    del boxes, height, width, threshold, padding
    num_characters = torch.library.get_ctx().new_dynamic_size()
    characters = masks.new_empty(num_characters, dtype=torch.uint8)
    return characters, masks.new_empty(masks.shape[0] + 1, dtype=torch.int64)


OPERATORS = (
    Operator(
        name="paste_masks_rle",
        schema=(
            "(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold,"
            " int padding) -> (Tensor, Tensor)"
        ),
        reference=_reference.paste_masks_rle,
        fake=_fake,
        in_float32=True,
    ),
)
