"""3 x 3 convolutions with a quarter of the multiplications, for inference.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops import winograd
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
    return winograd.pack(winograd.transform_weight(weight)).float()


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
    check_shape("input", input, ("N", "C", "H", "W"))
    check_shape("bias", bias, ("K",))
    num_outputs = len(bias) + -len(bias) % winograd.VECTOR
    check_shape("weight", weight, (winograd.NUM_POINTS * input.shape[1] * num_outputs,))
    if padding < 0 or min(input.shape[2:]) + 2 * padding < 3:
        raise ValueError(
            "padding: expected at least 0, and with it at least 3 rows and columns, got "
            f"{padding} for maps of {tuple(input.shape[2:])}"
        )
    stored = input if input.dtype in (torch.float32, torch.bfloat16) else input.float()
    output: Tensor = torch.ops.centermask.winograd_conv3x3(
        stored, weight.float(), bias.float(), padding, relu
    )
    return output.to(input.dtype)
