"""Inverted residual blocks in one pass over memory, for inference.

Shape symbols: N images, C input and K output channels, E channels between, H x W cells before,
H' x W' after. E' and K' are the next multiples of 16.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape, check_sides
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative
from maskrcnn_benchmark.layers._ops.packing import VECTOR, padded_outputs

# Vectors of channels at most whose weights lie side by side.
_GROUP = 4
_TAPS = 9

_TYPES = (torch.float32, torch.bfloat16)
_STRIDES = (1, 2)


def widths(num_channels: int) -> list[int]:
    """Sizes of the groups, as equal as can be, of a multiple of 16 channels."""
    num_vectors = num_channels // VECTOR
    count = -(-num_vectors // _GROUP)
    ends = [num_vectors * index // max(count, 1) * VECTOR for index in range(count + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def pack(rows: Tensor) -> Tensor:
    """(R O',) of weights (R, O) of O outputs, padded by zeros: one group after the other."""
    whole = F.pad(rows, (0, -rows.shape[1] % VECTOR))
    groups = torch.split(whole, widths(whole.shape[1]), dim=1)
    return torch.cat([group.flatten() for group in groups]) if groups else whole.flatten()


def unpack(packed: Tensor, num_rows: int) -> Tensor:
    """(R, O'): what ``pack`` was given, and the zeros."""
    sizes = widths(packed.numel() // num_rows)
    groups = torch.split(packed, [num_rows * width for width in sizes])
    blocks = [group.view(num_rows, width) for group, width in zip(groups, sizes, strict=True)]
    return torch.cat([packed.new_empty(num_rows, 0), *blocks], dim=1)


def output_hw(input: Tensor, stride: int) -> tuple[int, int]:
    """(H', W')."""
    return (input.shape[2] - 1) // stride + 1, (input.shape[3] - 1) // stride + 1


def check_maps(input: Tensor, out_channels: int, stride: int, adds_input: bool) -> None:
    """Raise ValueError unless maps and sizes of a block fit one another."""
    check_shape("input", input, (None,) * 4)
    if input.dtype not in _TYPES:
        raise ValueError(f"input: expected one of {_TYPES}, got {input.dtype}")
    if min(input.shape[2:]) < 1:
        raise ValueError(f"input: expected at least one cell, got {tuple(input.shape)}")
    if stride not in _STRIDES:
        raise ValueError(f"stride: expected 1 or 2, got {stride}")
    # The dispatcher takes numbers for their truth, and None for False.
    if not (adds_input is None or isinstance(adds_input, (int, float))):
        raise ValueError(f"adds_input: expected True or False, got {adds_input!r}")
    if adds_input and (stride != 1 or out_channels != input.shape[1]):
        raise ValueError(
            f"adds_input: expected stride 1 and as many channels as come in, {input.shape[1]}, "
            f"got stride {stride} and {out_channels} channels"
        )
    if out_channels < 0:
        raise ValueError(f"out_channels: expected at least 0, got {out_channels}")


def check(
    input: Tensor,
    expansion: Tensor | None,
    depthwise: Tensor,
    projection: Tensor,
    out_channels: int,
    stride: int,
    adds_input: bool,
    limit: float,
) -> None:
    """Raise ValueError unless arguments of ``inverted_residual`` fit one another."""
    check_maps(input, out_channels, stride, adds_input)
    if not limit > 0:
        raise ValueError(f"limit: expected a positive number, got {limit}")
    _check_weights(input.shape[1], expansion, depthwise, projection, out_channels)


def _check_weights(
    num_channels: int,
    expansion: Tensor | None,
    depthwise: Tensor,
    projection: Tensor,
    out_channels: int,
) -> None:
    check_shape("depthwise", depthwise, (None,))
    hidden = depthwise.numel() // (1 + _TAPS)
    if not hidden or depthwise.numel() % ((1 + _TAPS) * VECTOR):
        raise ValueError(
            f"depthwise: expected a multiple of {(1 + _TAPS) * VECTOR} numbers, got "
            f"{depthwise.numel()}"
        )
    if expansion is None and hidden != padded_outputs(num_channels):
        raise ValueError(
            f"depthwise: expected weights of {padded_outputs(num_channels)} channels, got {hidden}"
        )
    check_shape("projection", projection, ((1 + hidden) * padded_outputs(out_channels),))
    weights = {"depthwise": depthwise, "projection": projection}
    if expansion is not None:
        check_shape("expansion", expansion, ((1 + num_channels) * hidden,))
        weights["expansion"] = expansion
    for name, weight in weights.items():
        check_dtype(name, weight, torch.float32)


def _convolved_cells(maps: Tensor, packed: Tensor) -> Tensor:
    """(N, O', H, W) of maps (N, I, H, W)."""
    bias, *factors = unpack(packed, 1 + maps.shape[1])
    weight = torch.stack(factors) if factors else packed.new_empty(0, len(bias))
    results: Tensor = maps.movedim(1, 3) @ weight + bias
    return results.movedim(3, 1)


def inverted_residual(
    input: Tensor,
    expansion: Tensor | None,
    depthwise: Tensor,
    projection: Tensor,
    out_channels: int,
    stride: int,
    adds_input: bool,
    limit: float,
) -> Tensor:
    """Maps (N, K, H', W'), channels last, of maps (N, C, H, W).

    Args:
        input: float32 or bfloat16.
        expansion: ((1 + C) E',) packed, or None: E is C.
        depthwise: (10 E',) packed; E' is a multiple of 16.
        projection: ((1 + E') K',) packed.
        out_channels: K.
        stride: 1 or 2.
        adds_input: whether the input is added to the results.
        limit: what the channels between do not exceed, > 0.
    """
    check(input, expansion, depthwise, projection, out_channels, stride, adds_input, limit)
    check_sides("out_channels", (len(input), out_channels, *output_hw(input, stride)))
    maps = input.float()
    if expansion is None:
        between = F.pad(maps, (0, 0, 0, 0, 0, -input.shape[1] % VECTOR))
    else:
        between = _convolved_cells(maps, expansion).clamp(0, limit)
    bias, *taps = unpack(depthwise, 1 + _TAPS)
    weight = torch.stack(taps).T.reshape(-1, 1, 3, 3)
    filtered = F.conv2d(between, weight, bias, stride, padding=1, groups=len(bias))
    results = _convolved_cells(filtered.clamp(0, limit), projection)[:, :out_channels]
    if adds_input:
        results = results + maps
    return results.to(input.dtype).contiguous(memory_format=torch.channels_last)


def _fake(
    input: Tensor,
    expansion: Tensor | None,
    depthwise: Tensor,
    projection: Tensor,
    out_channels: int,
    stride: int,
    adds_input: bool,
    limit: float,
) -> Tensor:
    del expansion, depthwise, projection, adds_input, limit
    height, width = output_hw(input, stride)
    return input.new_empty(input.shape[0], height, width, out_channels).permute(0, 3, 1, 2)


OPERATORS = (
    Operator(
        name="inverted_residual",
        schema=(
            "(Tensor input, Tensor? expansion, Tensor depthwise, Tensor projection, "
            "int out_channels, int stride, bool adds_input, float limit) -> Tensor"
        ),
        reference=inverted_residual,
        fake=_fake,
        backward=no_derivative("inverted_residual"),
    ),
)
