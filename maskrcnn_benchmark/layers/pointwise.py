"""Convolutions of one cell by products of 16-bit integers, for inference.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after.
"""

import math

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops import packing
from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors
from maskrcnn_benchmark.layers.winograd import Int16Weight


def pack_pointwise_weight_int16(weight: Tensor) -> Int16Weight:
    """The weights of a convolution of one cell as ``pointwise_conv_int16`` reads them.

    Args:
        weight: (K, C, 1, 1) floating.

    Raises:
        ValueError: another shape or type.
    """
    check_tensors(weight=weight)
    check_floating(weight=weight)
    check_shape("weight", weight, ("K", "C", 1, 1))
    integers, scales = packing.round_weight(weight.double().flatten(1).t().unsqueeze(0))
    return Int16Weight(packing.pack_pairs(integers), packing.pack(scales))


def pointwise_conv_int16(
    input: Tensor,
    weight: Int16Weight,
    bias: Tensor,
    addend: Tensor | None = None,
    stride: int = 1,
    least: float = -math.inf,
    most: float = math.inf,
) -> Tensor:
    """The convolution plus bias and addend, limited: (N, K, H', W') channels last.

    For inference: it has no derivative. Products are of integers of 16 bits, whose sums are exact:
    the channels of a cell are rounded to 2^14 steps up to the greatest of them, and results are
    2e-4 of their size from the exact ones. Fast on processors that add such products in pairs
    (AVX-512 VNNI), slow elsewhere. Results do not depend on the number of threads. A cell with a
    value that is not finite becomes NaN. Empty batches are ordinary.

    Args:
        input: (N, C, H, W) floating; read without a copy where it is channels last and float32 or
            bfloat16.
        weight: what ``pack_pointwise_weight_int16`` made of (K, C, 1, 1).
        bias: (K,) floating.
        addend: (N, K, H', W') floating, or None.
        stride: of both directions, at least 1; H' = ceil(H / stride).
        least: smaller results become this: 0 for a ReLU. NaN stays.
        most: greater results become this: 6 for a ReLU6.

    Raises:
        ValueError: wrong shape, type or device; ``least`` is greater than ``most``.
    """
    integers, scales = weight
    check_tensors(input=input, integers=integers, scales=scales, bias=bias)
    check_floating(input=input, scales=scales, bias=bias)
    check_shape("input", input, ("N", "C", "H", "W"))
    check_shape("bias", bias, ("K",))
    _check_weight(weight, input.shape[1], len(bias))
    _check_numbers(stride, least, most)
    stored = input if input.dtype in (torch.float32, torch.bfloat16) else input.float()
    if addend is not None:
        check_tensors(input=input, addend=addend)
        check_floating(addend=addend)
        height, width = (-(-side // stride) for side in input.shape[2:])
        check_shape("addend", addend, (len(input), len(bias), height, width))
        addend = addend.to(stored.dtype)
    output: Tensor = torch.ops.centermask.pointwise_conv_int16(
        stored, integers, scales.float(), bias.float(), addend, stride, least, most
    )
    return output.to(input.dtype)


def _check_weight(weight: Int16Weight, num_channels: int, num_outputs: int) -> None:
    padded = packing.padded_outputs(num_outputs)
    even = num_channels + num_channels % 2
    check_shape("weight.integers", weight.integers, (even * padded,))
    check_shape("weight.scales", weight.scales, (packing.num_depths(num_channels) * padded,))


def _check_numbers(stride: int, least: float, most: float) -> None:
    if stride < 1:
        raise ValueError(f"stride: expected at least 1, got {stride}")
    if not least <= most:
        raise ValueError(f"least: expected at most {most}, got {least}")
