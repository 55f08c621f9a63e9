"""Weights in the order that kernels for channels-last maps read them, and as 16-bit integers.

Shape symbols: P matrices, each of C input and K output channels; a depth is 64 input channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Channels of a vector, output channels whose weights lie side by side, and channels whose products
# are added up before they are added to those before.
VECTOR = 16
GROUP = 64
DEPTH = 64
# Steps up to the greatest of the numbers that weights are multiplied with, and what magnitudes of
# integer weights may add up to, so that no sum of products leaves 32 bits.
_STEPS = 2**14 - 1
_MOST_WEIGHT = 2**17 - DEPTH


def padded_outputs(num_outputs: int) -> int:
    """The next multiple of 16."""
    return num_outputs + -num_outputs % VECTOR


def num_depths(num_channels: int) -> int:
    """How many depths there are; the last one may have fewer channels."""
    return -(-num_channels // DEPTH)


def pack(matrices: Tensor) -> Tensor:
    """(P C K',) of matrices (P, C, K): a group of output channels after the other.

    K' is the next multiple of 16; the channels beyond K are zeros.
    """
    padded = F.pad(matrices, (0, -matrices.shape[2] % VECTOR))
    groups = [group.flatten() for group in torch.split(padded, GROUP, dim=2)]
    return torch.cat(groups) if groups else padded.flatten()


def unpack(packed: Tensor, num_matrices: int, num_channels: int, num_outputs: int) -> Tensor:
    """(P, C, K): what ``pack`` was given."""
    padded = padded_outputs(num_outputs)
    widths = [min(GROUP, padded - first) for first in range(0, padded, GROUP)]
    groups = torch.split(packed, [num_matrices * num_channels * width for width in widths])
    blocks = [
        group.view(num_matrices, num_channels, width)
        for group, width in zip(groups, widths, strict=True)
    ]
    empty = packed.new_empty(num_matrices, num_channels, 0)
    return torch.cat([empty, *blocks], dim=2)[..., :num_outputs]


def round_weight(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """(P, C', K) int16 and (P, D, K) float32: integers, and what to multiply them with.

    C' is the next even number and D the number of depths; weights (P, C, K) of one depth and output
    channel of a matrix share a scale.
    """
    num_matrices, num_channels, num_outputs = matrices.shape
    padded = F.pad(matrices, (0, 0, 0, -num_channels % DEPTH))
    padded = padded.view(num_matrices, num_depths(num_channels), DEPTH, num_outputs)
    magnitudes = padded.abs()
    scales = torch.maximum(magnitudes.sum(2) / _MOST_WEIGHT, magnitudes.amax(2) / (2**15 - 1))
    # In the type that they are kept in, and never 0.
    scales = scales.float().clamp_min(torch.finfo(torch.float32).tiny)
    integers = (padded / scales.unsqueeze(2)).round().to(torch.int16).flatten(1, 2)
    return integers[:, : num_channels + num_channels % 2], scales


def pack_pairs(integers: Tensor) -> Tensor:
    """(P C' K',) of integers (P, C', K): as ``pack``, but two channels side by side."""
    pairs = torch.stack([integers[:, 0::2], integers[:, 1::2]], dim=3)
    padded = F.pad(pairs, (0, 0, 0, -pairs.shape[2] % VECTOR))
    groups = [group.flatten() for group in torch.split(padded, GROUP, dim=2)]
    return torch.cat(groups) if groups else padded.flatten()


def unpack_pairs(packed: Tensor, num_matrices: int, num_channels: int, num_outputs: int) -> Tensor:
    """(P, C', K): what ``pack_pairs`` was given."""
    first, second = (
        unpack(packed[offset::2], num_matrices, num_channels // 2, num_outputs)
        for offset in range(2)
    )
    return torch.stack([first, second], dim=2).flatten(1, 2)


def multiply_integers(
    rows: Tensor, weight: Tensor, scale: Tensor, num_outputs: int, greatest: list[Tensor]
) -> Tensor:
    """(P, R, K) float32: rows (P, R, C) times packed weights, by products of integers.

    Args:
        rows: float32.
        weight: of ``pack_pairs``.
        scale: their scales, of ``pack``.
        num_outputs: K.
        greatest: for each depth the greatest magnitude of the rows that share a scale, (P or 1, R,
            1); where it is not finite results are NaN.
    """
    num_matrices, num_rows, num_channels = rows.shape
    even = num_channels + num_channels % 2
    integers = unpack_pairs(weight, num_matrices, even, num_outputs)
    scales = unpack(scale, num_matrices, num_depths(num_channels), num_outputs).unbind(1)
    padded = F.pad(rows, (0, even - num_channels))
    products = rows.new_zeros(num_matrices, num_rows, num_outputs)
    # Without channels there is no depth.
    for most, scale_of_depth, numbers, factors in zip(
        greatest,
        scales,
        torch.split(padded, DEPTH, 2),
        torch.split(integers, DEPTH, 1),
        strict=False,
    ):
        steps = torch.where(most.isfinite(), most / _STEPS, float("nan"))
        rounded = (numbers / steps).round().nan_to_num(0.0)
        sums = (rounded.double() @ factors.double()).float()
        products += scale_of_depth.unsqueeze(1) * steps * sums
    return products
