"""Suppression: schema and shape function."""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference
from maskrcnn_benchmark.layers._ops.operator import Operator


def _fake_keep(boxes: Tensor, labels: Tensor | None, threshold: float) -> Tensor:
    del labels, threshold
    return boxes.new_empty(boxes.shape[0], dtype=torch.bool)


OPERATORS = (
    Operator(
        name="nms_keep",
        schema="(Tensor boxes, Tensor? labels, float threshold) -> Tensor",
        reference=_reference.nms_keep,
        fake=_fake_keep,
        in_float32=True,  # areas leave the range of half precision
    ),
)
