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
# Channels of a vector, and output channels whose weights lie side by side.
VECTOR = 16
GROUP = 64

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


def unpack(packed: Tensor, num_channels: int, num_outputs: int) -> Tensor:
    """(36, C, K): what ``pack`` was given."""
    padded = num_outputs + -num_outputs % VECTOR
    widths = [min(GROUP, padded - first) for first in range(0, padded, GROUP)]
    groups = torch.split(packed, [NUM_POINTS * num_channels * width for width in widths])
    blocks = [
        group.view(NUM_POINTS, num_channels, width)
        for group, width in zip(groups, widths, strict=True)
    ]
    empty = packed.new_empty(NUM_POINTS, num_channels, 0)
    return torch.cat([empty, *blocks], dim=2)[..., :num_outputs]


def _output_hw(input: Tensor, padding: int) -> tuple[int, int]:
    return input.shape[2] + 2 * padding - 2, input.shape[3] + 2 * padding - 2


def _check(input: Tensor, weight: Tensor, bias: Tensor, padding: int) -> None:
    check_shape("input", input, (None,) * 4)
    if input.dtype not in _TYPES:
        raise ValueError(f"input: expected one of {_TYPES}, got {input.dtype}")
    check_shape("bias", bias, (None,))
    num_channels, num_outputs = input.shape[1], len(bias)
    padded = num_outputs + -num_outputs % VECTOR
    check_shape("weight", weight, (NUM_POINTS * num_channels * padded,))
    check_dtype("weight", weight, torch.float32)
    check_dtype("bias", bias, torch.float32)
    if not 0 <= padding <= _MOST_PADDING or min(_output_hw(input, padding)) < 1:
        raise ValueError(
            "padding: expected at least 0, and with it at least 3 rows and columns, got "
            f"{padding} for maps of {tuple(input.shape[2:])}"
        )


def winograd_conv3x3(
    input: Tensor, weight: Tensor, bias: Tensor, padding: int, relu: bool = False
) -> Tensor:
    """Maps (N, K, H', W'), channels last; arguments as in ``layers.winograd_conv3x3``."""
    _check(input, weight, bias, padding)
    # The dispatcher takes numbers for their truth, and None for False.
    if not (relu is None or isinstance(relu, (int, float))):
        raise ValueError(f"relu: expected True or False, got {relu!r}")
    num_images, num_channels = input.shape[:2]
    height, width = _output_hw(input, padding)
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    below, right = rows * _TILE - height, columns * _TILE - width
    padded = F.pad(input.float(), (padding, padding + right, padding, padding + below))
    patches = padded.unfold(2, _PATCH, _TILE).unfold(3, _PATCH, _TILE)
    for_patches = input.new_tensor(_FOR_PATCHES, dtype=torch.float32)
    points = torch.einsum("pi,ncyxij,qj->pqnyxc", for_patches, patches, for_patches)
    coefficients = points.reshape(NUM_POINTS, num_images * rows * columns, num_channels)
    products = coefficients @ unpack(weight, num_channels, len(bias))
    products = products.view(_PATCH, _PATCH, num_images, rows, columns, len(bias))
    for_products = input.new_tensor(_FOR_PRODUCTS, dtype=torch.float32)
    tiles = torch.einsum("ip,pqnyxk,jq->nyixjk", for_products, products, for_products)
    maps = tiles.reshape(num_images, rows * _TILE, columns * _TILE, len(bias)) + bias
    if relu:
        maps = maps.relu()
    return maps[:, :height, :width].to(input.dtype).contiguous().permute(0, 3, 1, 2)


def _fake(input: Tensor, weight: Tensor, bias: Tensor, padding: int, relu: bool = False) -> Tensor:
    del weight, relu
    height, width = _output_hw(input, padding)
    return input.new_empty(input.shape[0], height, width, bias.shape[0]).permute(0, 3, 1, 2)


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
)
