"""Convolutions of one cell by products of 16-bit integers, for inference.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative
from maskrcnn_benchmark.layers._ops.packing import multiply_integers, num_depths, padded_outputs

_TYPES = (torch.float32, torch.bfloat16)


def _output_hw(input: Tensor, stride: int) -> tuple[int, int]:
    return -(-input.shape[2] // stride), -(-input.shape[3] // stride)


def _check(
    input: Tensor,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    addend: Tensor | None,
    stride: int,
    least: float,
    most: float,
) -> None:
    check_shape("input", input, (None,) * 4)
    if input.dtype not in _TYPES:
        raise ValueError(f"input: expected one of {_TYPES}, got {input.dtype}")
    check_shape("bias", bias, (None,))
    check_dtype("bias", bias, torch.float32)
    num_channels, padded = input.shape[1], padded_outputs(len(bias))
    check_shape("weight", weight, ((num_channels + num_channels % 2) * padded,))
    check_dtype("weight", weight, torch.int16)
    check_shape("scale", scale, (num_depths(num_channels) * padded,))
    check_dtype("scale", scale, torch.float32)
    if stride < 1:
        raise ValueError(f"stride: expected at least 1, got {stride}")
    if not least <= most:
        raise ValueError(f"least: expected at most {most}, got {least}")
    if addend is not None:
        check_shape("addend", addend, (input.shape[0], len(bias), *_output_hw(input, stride)))
        check_dtype("addend", addend, input.dtype)


def pointwise_conv_int16(
    input: Tensor,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    addend: Tensor | None,
    stride: int,
    least: float,
    most: float,
) -> Tensor:
    """Maps (N, K, H', W'), channels last; arguments as in ``layers.pointwise_conv_int16``."""
    _check(input, weight, scale, bias, addend, stride, least, most)
    height, width = _output_hw(input, stride)
    cells = input[:, :, ::stride, ::stride].permute(0, 2, 3, 1).float().flatten(0, 2)
    # Of all channels of a cell.
    depths = num_depths(input.shape[1])
    greatest = [cells.abs().amax(1)[None, :, None]] * depths if depths > 0 else []
    products = multiply_integers(cells.unsqueeze(0), weight, scale, len(bias), greatest)
    maps = products.view(len(input), height, width, len(bias)) + bias
    if addend is not None:
        maps = maps + addend.permute(0, 2, 3, 1)
    return maps.clamp(least, most).to(input.dtype).permute(0, 3, 1, 2)


def _fake(
    input: Tensor,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    addend: Tensor | None,
    stride: int,
    least: float,
    most: float,
) -> Tensor:
    del weight, scale, addend, least, most
    height, width = _output_hw(input, stride)
    return input.new_empty(input.shape[0], height, width, bias.shape[0]).permute(0, 3, 1, 2)


OPERATORS = (
    Operator(
        name="pointwise_conv_int16",
        schema=(
            "(Tensor input, Tensor weight, Tensor scale, Tensor bias, Tensor? addend, int stride, "
            "float least, float most) -> Tensor"
        ),
        reference=pointwise_conv_int16,
        fake=_fake,
        backward=no_derivative("pointwise_conv_int16"),
    ),
)
