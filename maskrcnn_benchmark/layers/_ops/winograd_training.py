"""What training needs around ``winograd_conv3x3``: weights for it, and their gradient.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops import packing, winograd
from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative

_TYPES = (torch.float32, torch.bfloat16)
_MOST_PADDING = 2**40


def winograd_pack(weight: Tensor, turned: bool) -> Tensor:
    """What ``winograd_conv3x3`` reads of weights (K, C, 3, 3), float32.

    Where ``turned`` is true, those of the convolution that takes the gradient of the results to
    that of the input: (C, K, 3, 3), upside down.
    """
    check_shape("weight", weight, (None, None, 3, 3))
    check_dtype("weight", weight, torch.float32)
    # The dispatcher takes numbers for their truth, and None for False.
    if not (turned is None or isinstance(turned, (int, float))):
        raise ValueError(f"turned: expected True or False, got {turned!r}")
    taken = weight.flip(2, 3).transpose(0, 1) if turned else weight
    return packing.pack(winograd.transform_weight(taken)).float()


def winograd_conv3x3_weight_grad(grad: Tensor, input: Tensor, padding: int) -> Tensor:
    """(K, C, 3, 3) float32, channels last: gradient of the weights of a convolution with stride 1.

    Args:
        grad: (N, K, H', W') of its results, float32 or bfloat16.
        input: (N, C, H, W) of the same type.
        padding: rows and columns of zeros on each side.
    """
    check_shape("input", input, (None,) * 4)
    if input.dtype not in _TYPES:
        raise ValueError(f"input: expected one of {_TYPES}, got {input.dtype}")
    num_images, num_channels, height, width = input.shape
    if not 0 <= padding <= _MOST_PADDING or min(height, width) + 2 * padding < 3:
        raise ValueError(
            "padding: expected at least 0, and with it at least 3 rows and columns, got "
            f"{padding} for maps of {(height, width)}"
        )
    check_shape("grad", grad, (num_images, None, height + 2 * padding - 2, width + 2 * padding - 2))
    check_dtype("grad", grad, input.dtype)
    shape = (grad.shape[1], num_channels, 3, 3)
    if grad.numel() == 0 or input.numel() == 0:
        result = input.new_zeros(shape, dtype=torch.float32)
    else:
        weight = input.new_empty(shape, dtype=torch.float32)
        _, result, _ = torch.ops.aten.convolution_backward(
            *(grad.float(), input.float(), weight, None),
            *([1, 1], [padding, padding], [1, 1], False, [0, 0], 1, [False, True, False]),
        )
    return result.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _fake_pack(weight: Tensor, turned: bool) -> Tensor:
    rows, outputs = (weight.shape[0], weight.shape[1]) if turned else weight.shape[1::-1]
    padded = packing.padded_outputs(outputs)
    return weight.new_empty(winograd.NUM_POINTS * rows * padded)


def _fake_gradient(grad: Tensor, input: Tensor, padding: int) -> Tensor:
    del padding
    taps = grad.new_empty(grad.shape[1], 3, 3, input.shape[1], dtype=torch.float32)
    return taps.permute(0, 3, 1, 2)


OPERATORS = (
    Operator(
        name="winograd_pack",
        schema="(Tensor weight, bool turned) -> Tensor",
        reference=winograd_pack,
        fake=_fake_pack,
        backward=no_derivative("winograd_pack"),
    ),
    Operator(
        name="winograd_conv3x3_weight_grad",
        schema="(Tensor grad, Tensor input, int padding) -> Tensor",
        reference=winograd_conv3x3_weight_grad,
        fake=_fake_gradient,
        backward=no_derivative("winograd_conv3x3_weight_grad"),
    ),
)
