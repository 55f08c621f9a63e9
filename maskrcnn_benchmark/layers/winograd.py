"""3 x 3 convolutions with a quarter of the multiplications, for inference.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops import packing, winograd
from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors


def pack_winograd_weight(weight: Tensor) -> Tensor:
    """The weights of a 3 x 3 convolution as ``winograd_conv3x3`` reads them, float32.

    They are 4 times as many, and more where K is no multiple of 16; computed in 64 bits.

    Args:
        weight: (K, C, 3, 3) floating.

    Raises:
        ValueError: another shape or type.

    Source: Fast Algorithms for Convolutional Neural Networks (Lavin and Gray 2015), section 4.1,
    F(4 x 4, 3 x 3), with the points 0, +-sqrt(1/2), +-sqrt(2) and infinity.
    """
    check_tensors(weight=weight)
    check_floating(weight=weight)
    check_shape("weight", weight, ("K", "C", 3, 3))
    return packing.pack(winograd.transform_weight(weight)).float()


def winograd_conv3x3(
    input: Tensor, weight: Tensor, bias: Tensor, padding: int = 1, relu: bool = False
) -> Tensor:
    """``F.conv2d(input, ..., bias, padding=padding)``, (N, K, H', W') channels last.

    For inference: it has no derivative. Results are those of the plain convolution up to
    rounding, about twice as far from the exact ones, in the type of the input; 32 bits are
    computed in whatever it is. They do not depend on the number of threads, but their last bits
    do on the processor. A value that is not finite spoils the 4 x 4 results around it. Empty
    batches are ordinary.

    Args:
        input: (N, C, H, W) floating; read without a copy where it is channels last and float32
            or bfloat16.
        weight: what ``pack_winograd_weight`` made of (K, C, 3, 3).
        bias: (K,) floating.
        padding: rows and columns of zeros on each side, at least 0; H' = H + 2 padding - 2.
        relu: whether negative results become 0. NaN stays.

    Raises:
        ValueError: wrong shape, type or device; fewer than 3 rows or columns.

    Source: as ``pack_winograd_weight``.
    """
    check_tensors(input=input, weight=weight, bias=bias)
    check_floating(input=input, weight=weight, bias=bias)
    _check_sizes(input, bias, padding)
    check_shape("weight", weight, (winograd.num_weights(input.shape[1], len(bias)),))
    output: Tensor = torch.ops.centermask.winograd_conv3x3(
        _stored(input), weight.float(), bias.float(), padding, relu
    )
    return output.to(input.dtype)


class Int16Weight(NamedTuple):
    """The weights of a 3 x 3 convolution as ``winograd_conv3x3_int16`` reads them.

    Attributes:
        integers: int16, about 4 times as many as weights.
        scales: float32, what to multiply the integers with; those of 64 input channels share one.
    """

    integers: Tensor
    scales: Tensor


def pack_winograd_weight_int16(weight: Tensor) -> Int16Weight:
    """The weights of a 3 x 3 convolution as ``winograd_conv3x3_int16`` reads them.

    Args:
        weight: (K, C, 3, 3) floating.

    Raises:
        ValueError: another shape or type.

    Source: as ``pack_winograd_weight``.
    """
    check_tensors(weight=weight)
    check_floating(weight=weight)
    check_shape("weight", weight, ("K", "C", 3, 3))
    integers, scales = packing.round_weight(winograd.transform_weight(weight))
    return Int16Weight(packing.pack_pairs(integers), packing.pack(scales))


def winograd_conv3x3_int16(
    input: Tensor, weight: Int16Weight, bias: Tensor, padding: int = 1, relu: bool = False
) -> Tensor:
    """As ``winograd_conv3x3``, but products are of integers of 16 bits, whose sums are exact.

    Half as many instructions multiply, on processors that add products of such integers in pairs
    (AVX-512 VNNI); elsewhere it is slow. Coefficients of a patch are rounded to 2^14 steps up to
    the greatest of 64 channels, so that results are 5e-4 of their size from the exact ones: a
    quarter of what bfloat16 for input and weights costs a plain convolution.

    Args:
        input: (N, C, H, W) floating, as in ``winograd_conv3x3``.
        weight: what ``pack_winograd_weight_int16`` made of (K, C, 3, 3).
        bias: (K,) floating.
        padding: rows and columns of zeros on each side, at least 0; H' = H + 2 padding - 2.
        relu: whether negative results become 0. NaN stays.

    Raises:
        ValueError: wrong shape, type or device; fewer than 3 rows or columns.

    Source: as ``pack_winograd_weight``.
    """
    integers, scales = weight
    check_tensors(input=input, integers=integers, scales=scales, bias=bias)
    check_floating(input=input, scales=scales, bias=bias)
    _check_sizes(input, bias, padding)
    num_channels, num_outputs = input.shape[1], len(bias)
    even, num_depths = num_channels + num_channels % 2, packing.num_depths(num_channels)
    check_shape("weight.integers", integers, (winograd.num_weights(even, num_outputs),))
    check_shape("weight.scales", scales, (winograd.num_weights(num_depths, num_outputs),))
    output: Tensor = torch.ops.centermask.winograd_conv3x3_int16(
        _stored(input), integers, scales.float(), bias.float(), padding, relu
    )
    return output.to(input.dtype)


def _check_sizes(input: Tensor, bias: Tensor, padding: int) -> None:
    check_shape("input", input, ("N", "C", "H", "W"))
    check_shape("bias", bias, ("K",))
    if padding < 0 or min(input.shape[2:]) + 2 * padding < 3:
        raise ValueError(
            "padding: expected at least 0, and with it at least 3 rows and columns, got "
            f"{padding} for maps of {tuple(input.shape[2:])}"
        )


def _stored(input: Tensor) -> Tensor:
    return input if input.dtype in (torch.float32, torch.bfloat16) else input.float()
