"""Inverted residual blocks in one pass over memory by products of 16-bit integers, for inference.

Shape symbols: N images, C input and K output channels, E channels between, H x W cells before,
H' x W' after; R rows of weights and O outputs. C' is the next even number, E', K' and O' are the
next multiples of 16, and G the groups that E' is cut into.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape, check_sides
from maskrcnn_benchmark.layers._ops.inverted_residual import check_maps, output_hw, widths
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative
from maskrcnn_benchmark.layers._ops.packing import VECTOR, padded_outputs

# Steps that what is between is counted in, up to the limit; bits of what comes in.
STEPS = 2**15 - 1
_INPUT_BITS = 14
# Below it numbers are of fewer bits.
_LEAST_EXPONENT = -112
# What magnitudes of weights of one result, or those of either sign where the others are not
# negative, may add up to so that no sum leaves 32 bits.
MOST_OF_INPUT = 2**17 - 256
MOST_BETWEEN = 2**16 - 64
# The 3 x 3 kernel's rows, each as pairs of weights: for results in left columns of words, and in
# right ones.
_TAPS = 9
_PAIRS_OF_KERNEL = ((None, 0), (1, 2), (0, 1), (2, None))
_ROWS_OF_KERNEL = 3 * 2 * len(_PAIRS_OF_KERNEL)


class Factors(NamedTuple):
    """What integer sums are multiplied with, and what is added then."""

    expansion: Tensor
    expansion_offsets: Tensor
    depthwise: Tensor
    depthwise_offsets: Tensor
    offsets: Tensor
    projection: Tensor


def round_rows(rows: Tensor, most: Tensor, most_sum: float) -> tuple[Tensor, Tensor]:
    """(R, O) int16 and (O,) float32: integers, and their scales.

    Args:
        rows: (R, O).
        most: (O,) what the integers of an output add up to at most, before scaling.
        most_sum: and after it.
    """
    greatest = rows.abs().amax(0) if len(rows) else torch.zeros_like(most)
    scales = torch.maximum(most / most_sum, greatest / STEPS).float()
    # In the type that they are kept in, and never 0.
    scales = scales.clamp_min(torch.finfo(torch.float32).tiny)
    return (rows / scales).round().to(torch.int16), scales


def pack_pairs(rows: Tensor) -> Tensor:
    """(R O',) of integers (R, O), R even: groups of outputs, two rows side by side."""
    whole = F.pad(rows, (0, -rows.shape[1] % VECTOR))
    pairs = torch.stack([whole[0::2], whole[1::2]], dim=2)
    groups = torch.split(pairs, widths(whole.shape[1]), dim=1)
    return torch.cat([group.flatten() for group in groups]) if groups else whole.flatten()


def unpack_pairs(packed: Tensor, num_rows: int, num_outputs: int) -> Tensor:
    """(R, O'): what ``pack_pairs`` was given, and zeros."""
    sizes = widths(padded_outputs(num_outputs))
    groups = torch.split(packed, [num_rows * width for width in sizes])
    blocks = [
        group.view(num_rows // 2, width, 2).transpose(1, 2).reshape(num_rows, width)
        for group, width in zip(groups, sizes, strict=True)
    ]
    return torch.cat([packed.new_empty(num_rows, 0), *blocks], dim=1)


def pairs_of_kernel(kernel: Tensor) -> Tensor:
    """(24, E): rows of ``pack_pairs`` of kernels (9, E)."""
    none = torch.zeros_like(kernel[0])
    return torch.stack(
        [
            none if column is None else kernel[3 * row + column]
            for row in range(3)
            for pair in _PAIRS_OF_KERNEL
            for column in pair
        ]
    )


def _kernel_of(rows: Tensor) -> Tensor:
    """(9, E) of what ``pairs_of_kernel`` made."""
    return rows.view(3, -1, rows.shape[1])[:, 1:4].flatten(0, 1)


def split_factors(factors: Tensor, hidden: int, out_channels: int) -> Factors:
    """Views of packed factors."""
    padded = padded_outputs(out_channels)
    first, first_offsets, second, second_offsets, offsets, scales = torch.split(
        factors, [*([hidden] * 4), padded, len(widths(hidden)) * padded]
    )
    return Factors(
        first,
        first_offsets,
        second,
        second_offsets,
        offsets,
        scales.view(len(widths(hidden)), padded),
    )


def check(
    input: Tensor,
    expansion: Tensor,
    depthwise: Tensor,
    projection: Tensor,
    factors: Tensor,
    out_channels: int,
    stride: int,
    adds_input: bool,
) -> int:
    """The channels between; raise ValueError unless arguments fit one another."""
    check_maps(input, out_channels, stride, adds_input)
    check_shape("depthwise", depthwise, (None,))
    hidden, unit = depthwise.numel() // _ROWS_OF_KERNEL, _ROWS_OF_KERNEL * VECTOR
    if not hidden or depthwise.numel() % unit:
        raise ValueError(
            f"depthwise: expected a multiple of {unit} numbers, got {depthwise.numel()}"
        )
    channels, padded = input.shape[1], padded_outputs(out_channels)
    check_shape("expansion", expansion, ((channels + channels % 2) * hidden,))
    check_shape("projection", projection, (hidden * padded,))
    check_shape("factors", factors, (4 * hidden + (1 + len(widths(hidden))) * padded,))
    for name, weight in (
        ("expansion", expansion),
        ("depthwise", depthwise),
        ("projection", projection),
    ):
        check_dtype(name, weight, torch.int16)
    check_dtype("factors", factors, torch.float32)
    return hidden


def _expanded(maps: Tensor, expansion: Tensor, hidden: int, factors: Factors) -> Tensor:
    """(N, E', H, W) steps of what is between, and NaN where a cell is not finite."""
    cells = F.pad(maps.movedim(1, 3), (0, maps.shape[1] % 2))
    greatest = F.pad(cells, (0, 1)).abs().amax(3, keepdim=True)
    is_finite = greatest.isfinite()
    _, exponents = torch.frexp(torch.where(is_finite, greatest, 0.0))
    exponents = exponents.clamp_min(_LEAST_EXPONENT) - _INPUT_BITS
    one = torch.ones_like(greatest)
    rounded = (cells * torch.ldexp(one, -exponents)).round().where(is_finite, 0.0).double()
    weight = unpack_pairs(expansion, cells.shape[3], hidden).double()
    scales = torch.ldexp(one, exponents) * factors.expansion
    return (
        _steps((rounded @ weight).float() * scales + factors.expansion_offsets)
        .where(is_finite, torch.nan)
        .movedim(3, 1)
    )


def _steps(values: Tensor) -> Tensor:
    return values.clamp(0, STEPS).round()


def inverted_residual_int16(
    input: Tensor,
    expansion: Tensor,
    depthwise: Tensor,
    projection: Tensor,
    factors: Tensor,
    out_channels: int,
    stride: int,
    adds_input: bool,
) -> Tensor:
    """Maps (N, K, H', W'), channels last, of maps (N, C, H, W).

    Args:
        input: float32 or bfloat16.
        expansion: (C' E',) int16 of ``pack_pairs``.
        depthwise: (24 E',) int16 of ``pack_pairs``.
        projection: (E' K',) int16 of ``pack_pairs``.
        factors: (4 E' + K' + G K',) float32, see ``Factors``.
        out_channels: K.
        stride: 1 or 2.
        adds_input: whether the input is added to the results.
    """
    arguments = (input, expansion, depthwise, projection, factors, out_channels, stride, adds_input)
    hidden = check(*arguments)
    check_sides("out_channels", (len(input), out_channels, *output_hw(input, stride)))
    parts = split_factors(factors, hidden, out_channels)
    between = _expanded(input.float(), expansion, hidden, parts).double()
    kernel = _kernel_of(unpack_pairs(depthwise, _ROWS_OF_KERNEL, hidden)).double()
    filtered = F.conv2d(
        between, kernel.T.reshape(-1, 1, 3, 3), stride=stride, padding=1, groups=hidden
    )
    cells = _steps(filtered.float().movedim(1, 3) * parts.depthwise + parts.depthwise_offsets)
    weight = unpack_pairs(projection, hidden, out_channels).double()
    sizes = widths(hidden)
    results = parts.offsets
    for values, rows, scale in zip(
        torch.split(cells.double(), sizes, 3),
        torch.split(weight, sizes),
        parts.projection,
        strict=True,
    ):
        results = results + scale * (values @ rows).float()
    maps = results[..., :out_channels].movedim(3, 1)
    if adds_input:
        maps = maps + input
    return maps.to(input.dtype).contiguous(memory_format=torch.channels_last)


def _fake(
    input: Tensor,
    expansion: Tensor,
    depthwise: Tensor,
    projection: Tensor,
    factors: Tensor,
    out_channels: int,
    stride: int,
    adds_input: bool,
) -> Tensor:
    del expansion, depthwise, projection, factors, adds_input
    height, width = output_hw(input, stride)
    return input.new_empty(input.shape[0], height, width, out_channels).permute(0, 3, 1, 2)


OPERATORS = (
    Operator(
        name="inverted_residual_int16",
        schema=(
            "(Tensor input, Tensor expansion, Tensor depthwise, Tensor projection, "
            "Tensor factors, int out_channels, int stride, bool adds_input) -> Tensor"
        ),
        reference=inverted_residual_int16,
        fake=_fake,
        backward=no_derivative("inverted_residual_int16"),
    ),
)
