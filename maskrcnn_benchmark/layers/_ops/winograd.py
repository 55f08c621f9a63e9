"""3 x 3 convolutions by minimal filtering, for inference.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after, T tiles
of 4 x 4 results, each from a patch of 6 x 6 cells.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative

NUM_POINTS = 36
# Channels of a vector, output channels whose weights lie side by side, and channels whose products
# are added up before they are added to those before.
VECTOR = 16
GROUP = 64
DEPTH = 64
# Steps up to the greatest coefficient of a patch, and what magnitudes of integer weights may add up
# to, so that no sum of products leaves 32 bits.
STEPS = 2**14 - 1
MOST_WEIGHT = 2**17 - DEPTH

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


def pack(coefficients: Tensor) -> Tensor:
    """(36 C K',) of coefficients (36, C, K): a group of output channels after the other.

    K' is the next multiple of 16; the channels beyond K are zeros.
    """
    padded = F.pad(coefficients, (0, -coefficients.shape[2] % VECTOR))
    groups = [group.flatten() for group in torch.split(padded, GROUP, dim=2)]
    return torch.cat(groups) if groups else padded.flatten()


def unpack(packed: Tensor, num_rows: int, num_outputs: int) -> Tensor:
    """(36, R, K): what ``pack`` was given, R rows of K numbers for each point."""
    padded = num_outputs + -num_outputs % VECTOR
    widths = [min(GROUP, padded - first) for first in range(0, padded, GROUP)]
    groups = torch.split(packed, [NUM_POINTS * num_rows * width for width in widths])
    blocks = [
        group.view(NUM_POINTS, num_rows, width) for group, width in zip(groups, widths, strict=True)
    ]
    empty = packed.new_empty(NUM_POINTS, num_rows, 0)
    return torch.cat([empty, *blocks], dim=2)[..., :num_outputs]


def round_weight(coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """(36, C', K) int16 and (36, D, K) float32: integers, and what to multiply them with.

    C' is the next even number and D the number of depths; coefficients (36, C, K) of one depth,
    point and output channel share a scale.
    """
    _, num_channels, num_outputs = coefficients.shape
    padded = F.pad(coefficients, (0, 0, 0, -num_channels % DEPTH))
    padded = padded.view(NUM_POINTS, padded.shape[1] // DEPTH, DEPTH, num_outputs)
    magnitudes = padded.abs()
    scales = torch.maximum(magnitudes.sum(2) / MOST_WEIGHT, magnitudes.amax(2) / (2**15 - 1))
    # In the type that they are kept in, and never 0.
    scales = scales.float().clamp_min(torch.finfo(torch.float32).tiny)
    integers = (padded / scales.unsqueeze(2)).round().to(torch.int16).flatten(1, 2)
    return integers[:, : num_channels + num_channels % 2], scales


def pack_pairs(integers: Tensor) -> Tensor:
    """(36 C' K',) of integers (36, C', K): as ``pack``, but two channels side by side."""
    pairs = torch.stack([integers[:, 0::2], integers[:, 1::2]], dim=3)
    padded = F.pad(pairs, (0, 0, 0, -pairs.shape[2] % VECTOR))
    groups = [group.flatten() for group in torch.split(padded, GROUP, dim=2)]
    return torch.cat(groups) if groups else padded.flatten()


def unpack_pairs(packed: Tensor, num_channels: int, num_outputs: int) -> Tensor:
    """(36, C', K): what ``pack_pairs`` was given."""
    first, second = (
        unpack(packed[offset::2], num_channels // 2, num_outputs) for offset in range(2)
    )
    return torch.stack([first, second], dim=2).flatten(1, 2)


def _output_hw(input: Tensor, padding: int) -> tuple[int, int]:
    return input.shape[2] + 2 * padding - 2, input.shape[3] + 2 * padding - 2


def _num_weights(num_channels: int, num_outputs: int) -> int:
    return NUM_POINTS * num_channels * (num_outputs + -num_outputs % VECTOR)


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
    check_shape("weight", weight, (_num_weights(num_channels, len(bias)),))
    check_dtype("weight", weight, torch.float32)
    _check_rest(input, bias, padding, relu)
    products = _coefficients(input, padding) @ unpack(weight, num_channels, len(bias))
    return _maps(products, input, bias, padding, relu)


def winograd_conv3x3_int16(
    input: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, padding: int, relu: bool = False
) -> Tensor:
    """Maps (N, K, H', W'), channels last; arguments as in ``layers.winograd_conv3x3_int16``."""
    _check_maps(input, bias)
    num_channels, num_outputs = input.shape[1], len(bias)
    num_depths = -(-num_channels // DEPTH)
    even = num_channels + num_channels % 2
    check_shape("weight", weight, (_num_weights(even, num_outputs),))
    check_dtype("weight", weight, torch.int16)
    check_shape("scale", scale, (_num_weights(num_depths, num_outputs),))
    check_dtype("scale", scale, torch.float32)
    _check_rest(input, bias, padding, relu)
    integers = torch.split(unpack_pairs(weight, even, num_outputs), DEPTH, dim=1)
    scales = unpack(scale, num_depths, num_outputs).unbind(1)
    exact = F.pad(_coefficients(input, padding), (0, even - num_channels))
    depths = torch.split(exact, DEPTH, dim=2)
    products = exact.new_zeros(NUM_POINTS, exact.shape[1], num_outputs)
    for coefficients, factors, scale_of_depth in zip(depths, integers, scales, strict=False):
        # Of a patch; what has no nearest integer leaves its mark in the scale.
        steps = coefficients.abs().amax((0, 2), keepdim=True) / STEPS
        steps = torch.where(steps.isfinite(), steps, float("nan"))
        rounded = (coefficients / steps).round().nan_to_num(0.0)
        sums = (rounded.double() @ factors.double()).float()
        products += scale_of_depth.unsqueeze(1) * steps * sums
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
