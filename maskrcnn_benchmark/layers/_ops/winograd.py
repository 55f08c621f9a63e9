"""3 x 3 convolutions by minimal filtering, for inference.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after, T tiles
of 4 x 4 results, each from a patch of 6 x 6 cells.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative
from maskrcnn_benchmark.layers._ops.packing import (
    DEPTH,
    multiply_integers,
    num_depths,
    padded_outputs,
    unpack,
)

NUM_POINTS = 36

_TILE, _PATCH = 4, 6
_TYPES = (torch.float32, torch.bfloat16)
_MOST_PADDING = 2**40
# The points of evaluation are 0, +-s, +-l and infinity; s * l = 1 and s^2 + l^2 = 2.5.
_S, _L = 0.5**0.5, 2**0.5
# What patches are multiplied with from both sides; weights; and products.
_FOR_PATCHES = (
    (1, 0, -2.5, 0, 1, 0),
    (0, -2 * _S, -2, _S, 1, 0),
    (0, 2 * _S, -2, -_S, 1, 0),
    (0, -_L / 2, -0.5, _L, 1, 0),
    (0, _L / 2, -0.5, -_L, 1, 0),
    (0, 1, 0, -2.5, 0, 1),
)
_FOR_PRODUCTS = (
    (1, 1, 1, 1, 1, 0),
    (0, _S, -_S, _L, -_L, 0),
    (0, 0.5, 0.5, 2, 2, 0),
    (0, _S / 2, -_S / 2, 2 * _L, -2 * _L, 1),
)
_FOR_WEIGHTS = (
    (1, 0, 0),
    (-2 / 3, -2 / 3 * _S, -1 / 3),
    (-2 / 3, 2 / 3 * _S, -1 / 3),
    (1 / 6, _L / 6, 1 / 3),
    (1 / 6, -_L / 6, 1 / 3),
    (0, 0, 1),
)


def transform_weight(weight: Tensor) -> Tensor:
    """(36, C, K) float64 coefficients of weights (K, C, 3, 3)."""
    factors = torch.tensor(_FOR_WEIGHTS, dtype=torch.float64, device=weight.device)
    return torch.einsum("pi,kcij,qj->pqck", factors, weight.double(), factors).flatten(0, 1)


def _output_hw(input: Tensor, padding: int) -> tuple[int, int]:
    return input.shape[2] + 2 * padding - 2, input.shape[3] + 2 * padding - 2


def num_weights(num_channels: int, num_outputs: int) -> int:
    """Of packed ones, or of scales where there are so many depths for channels."""
    return NUM_POINTS * num_channels * padded_outputs(num_outputs)


def _check_maps(input: Tensor, bias: Tensor) -> None:
    check_shape("input", input, (None,) * 4)
    if input.dtype not in _TYPES:
        raise ValueError(f"input: expected one of {_TYPES}, got {input.dtype}")
    check_shape("bias", bias, (None,))


def _check_rest(input: Tensor, bias: Tensor, padding: int, relu: object) -> None:
    check_dtype("bias", bias, torch.float32)
    if not 0 <= padding <= _MOST_PADDING or min(_output_hw(input, padding)) < 1:
        raise ValueError(
            "padding: expected at least 0, and with it at least 3 rows and columns, got "
            f"{padding} for maps of {tuple(input.shape[2:])}"
        )
    # The dispatcher takes numbers for their truth, and None for False.
    if not (relu is None or isinstance(relu, (int, float))):
        raise ValueError(f"relu: expected True or False, got {relu!r}")


def _coefficients(input: Tensor, padding: int) -> Tensor:
    """(36, T, C) float32 of maps."""
    height, width = _output_hw(input, padding)
    below, right = -height % _TILE, -width % _TILE
    padded = F.pad(input.float(), (padding, padding + right, padding, padding + below))
    patches = padded.unfold(2, _PATCH, _TILE).unfold(3, _PATCH, _TILE)
    factors = input.new_tensor(_FOR_PATCHES, dtype=torch.float32)
    points = torch.einsum("pi,ncyxij,qj->pqnyxc", factors, patches, factors)
    return points.flatten(2, 4).flatten(0, 1)


def _maps(products: Tensor, input: Tensor, bias: Tensor, padding: int, relu: bool) -> Tensor:
    """(N, K, H', W') of products (36, T, K)."""
    height, width = _output_hw(input, padding)
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    products = products.view(_PATCH, _PATCH, input.shape[0], rows, columns, len(bias))
    factors = input.new_tensor(_FOR_PRODUCTS, dtype=torch.float32)
    tiles = torch.einsum("ip,pqnyxk,jq->nyixjk", factors, products, factors)
    maps = tiles.reshape(input.shape[0], rows * _TILE, columns * _TILE, len(bias)) + bias
    if relu:
        maps = maps.relu()
    return maps[:, :height, :width].to(input.dtype).contiguous().permute(0, 3, 1, 2)


def winograd_conv3x3(
    input: Tensor, weight: Tensor, bias: Tensor, padding: int, relu: bool = False
) -> Tensor:
    """Maps (N, K, H', W'), channels last; arguments as in ``layers.winograd_conv3x3``."""
    _check_maps(input, bias)
    num_channels = input.shape[1]
    check_shape("weight", weight, (num_weights(num_channels, len(bias)),))
    check_dtype("weight", weight, torch.float32)
    _check_rest(input, bias, padding, relu)
    products = _coefficients(input, padding) @ unpack(weight, NUM_POINTS, num_channels, len(bias))
    return _maps(products, input, bias, padding, relu)


def winograd_conv3x3_int16(
    input: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, padding: int, relu: bool = False
) -> Tensor:
    """Maps (N, K, H', W'), channels last; arguments as in ``layers.winograd_conv3x3_int16``."""
    _check_maps(input, bias)
    num_channels, num_outputs = input.shape[1], len(bias)
    even = num_channels + num_channels % 2
    check_shape("weight", weight, (num_weights(even, num_outputs),))
    check_dtype("weight", weight, torch.int16)
    check_shape("scale", scale, (num_weights(num_depths(num_channels), num_outputs),))
    check_dtype("scale", scale, torch.float32)
    _check_rest(input, bias, padding, relu)
    rows = _coefficients(input, padding)
    depths = torch.split(rows, DEPTH, dim=2) if num_channels > 0 else ()
    # Of a patch.
    greatest = [depth.abs().amax((0, 2), keepdim=True) for depth in depths]
    products = multiply_integers(rows, weight, scale, num_outputs, greatest)
    return _maps(products, input, bias, padding, relu)


def _fake(input: Tensor, weight: Tensor, bias: Tensor, padding: int, relu: bool = False) -> Tensor:
    del weight, relu
    height, width = _output_hw(input, padding)
    return input.new_empty(input.shape[0], height, width, bias.shape[0]).permute(0, 3, 1, 2)


def _fake_int16(
    input: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, padding: int, relu: bool = False
) -> Tensor:
    del scale
    return _fake(input, weight, bias, padding, relu)


OPERATORS = (
    Operator(
        name="winograd_conv3x3",
        schema=(
            "(Tensor input, Tensor weight, Tensor bias, int padding, bool relu=False) -> Tensor"
        ),
        reference=winograd_conv3x3,
        fake=_fake,
        backward=no_derivative("winograd_conv3x3"),
    ),
    Operator(
        name="winograd_conv3x3_int16",
        schema=(
            "(Tensor input, Tensor weight, Tensor scale, Tensor bias, int padding, "
            "bool relu=False) -> Tensor"
        ),
        reference=winograd_conv3x3_int16,
        fake=_fake_int16,
        backward=no_derivative("winograd_conv3x3_int16"),
    ),
)
