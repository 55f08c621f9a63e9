"""Inverted residual blocks in one pass over memory, for inference.

Shape symbols: N images, C input and K output channels, E channels between, H x W cells before,
H' x W' after.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers._ops import inverted_residual as packing
from maskrcnn_benchmark.layers._ops import inverted_residual_int16 as integers
from maskrcnn_benchmark.layers._ops.packing import VECTOR
from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors


class InvertedResidualWeights(NamedTuple):
    """Weights of a block as ``inverted_residual`` reads them, float32 and flat.

    Attributes:
        expansion: of the convolution to more channels; None where there is none.
        depthwise: of the 3 x 3 convolution of each channel.
        projection: of the convolution to the channels that leave.
    """

    expansion: Tensor | None
    depthwise: Tensor
    projection: Tensor


def pack_inverted_residual(
    expansion: tuple[Tensor, Tensor] | None,
    depthwise: tuple[Tensor, Tensor],
    projection: tuple[Tensor, Tensor],
) -> InvertedResidualWeights:
    """The weights of a block as ``inverted_residual`` reads them.

    Args:
        expansion: (E, C, 1, 1) and (E,): weights and what is added; None: E is C.
        depthwise: (E, 1, 3, 3) and (E,), E > 0.
        projection: (K, E, 1, 1) and (K,).

    Raises:
        ValueError: another shape or type.
    """
    num_between = len(depthwise[0])
    if not num_between:
        raise ValueError("depthwise: expected at least one channel, got none")
    projecting, offsets = projection
    # What vectors have more than there are channels is zero, and multiplied with zero.
    extra = -num_between % VECTOR
    _check("projection", projecting, offsets, ("K", num_between, 1, 1))
    return InvertedResidualWeights(
        None if expansion is None else _packed("expansion", *expansion, (num_between, "C", 1, 1)),
        _packed("depthwise", *depthwise, (num_between, 1, 3, 3)),
        _packed(
            *("projection", F.pad(projecting, (0, 0, 0, 0, 0, extra)), offsets),
            ("K", num_between + extra, 1, 1),
        ),
    )


class IntegerBlockWeights(NamedTuple):
    """Weights of a block as ``inverted_residual_int16`` reads them, flat.

    Attributes:
        expansion: int16, of the convolution to more channels.
        depthwise: int16, of the 3 x 3 convolution of each channel.
        projection: int16, of the convolution to the channels that leave.
        factors: float32, what their sums are multiplied with, and what is added.
    """

    expansion: Tensor
    depthwise: Tensor
    projection: Tensor
    factors: Tensor


def pack_inverted_residual_int16(
    expansion: tuple[Tensor, Tensor],
    depthwise: tuple[Tensor, Tensor],
    projection: tuple[Tensor, Tensor],
    limit: float = 6.0,
) -> IntegerBlockWeights:
    """The weights of a block as ``inverted_residual_int16`` reads them.

    Args:
        expansion: (E, C, 1, 1) and (E,): weights and what is added.
        depthwise: (E, 1, 3, 3) and (E,), E > 0.
        projection: (K, E, 1, 1) and (K,).
        limit: after either of the first two convolutions negative numbers become 0, and larger
            ones this; > 0 and finite.

    Raises:
        ValueError: another shape or type; another limit.
    """
    if not 0 < limit < math.inf:
        raise ValueError(f"limit: expected a positive, finite number, got {limit}")
    _check_block(expansion, depthwise, projection)
    step = limit / integers.STEPS
    extra = -len(depthwise[0]) % VECTOR
    expanding, filtering, projecting = (
        weight.double().flatten(1).T for weight, _ in (expansion, depthwise, projection)
    )
    expanding = F.pad(expanding, (0, extra, 0, len(expanding.T[0]) % 2))
    filtering = F.pad(filtering, (0, extra))
    first, first_scales = integers.round_rows(
        expanding, expanding.abs().sum(0), integers.MOST_OF_INPUT
    )
    second, second_scales = integers.round_rows(
        filtering, _greater_sum(filtering), integers.MOST_BETWEEN
    )
    last = _rounded_groups(F.pad(projecting, (0, 0, 0, extra)))
    beyond = -projecting.shape[1] % VECTOR
    factors = [
        first_scales / step,
        F.pad(expansion[1].double() / step, (0, extra)),
        second_scales,
        F.pad(depthwise[1].double() / step, (0, extra)),
        F.pad(projection[1], (0, beyond)),
        *(F.pad(scales * step, (0, beyond)) for _, scales in last),
    ]
    return IntegerBlockWeights(
        integers.pack_pairs(first),
        integers.pack_pairs(integers.pairs_of_kernel(second)),
        integers.pack_pairs(torch.cat([group for group, _ in last])),
        torch.cat([each.float() for each in factors]),
    )


def _check_block(
    expansion: tuple[Tensor, Tensor],
    depthwise: tuple[Tensor, Tensor],
    projection: tuple[Tensor, Tensor],
) -> None:
    num_between = len(depthwise[0])
    if not num_between:
        raise ValueError("depthwise: expected at least one channel, got none")
    _check("expansion", *expansion, (num_between, "C", 1, 1))
    _check("depthwise", *depthwise, (num_between, 1, 3, 3))
    _check("projection", *projection, ("K", num_between, 1, 1))


def _rounded_groups(rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Integers and scales of each group of rows (E', K) that has a scale of its own."""
    groups = torch.split(rows, packing.widths(len(rows)))
    most = integers.MOST_BETWEEN
    return [integers.round_rows(group, _greater_sum(group), most) for group in groups]


def _greater_sum(rows: Tensor) -> Tensor:
    """(O,): of rows (R, O) the sum of the positive or of the negative numbers."""
    return torch.maximum(rows.clamp_min(0).sum(0), -rows.clamp_max(0).sum(0))


def _packed(name: str, weight: Tensor, bias: Tensor, sides: tuple[int | str, ...]) -> Tensor:
    _check(name, weight, bias, sides)
    return packing.pack(torch.cat([bias[None], weight.flatten(1).T.to(bias)]).float())


def _check(name: str, weight: Tensor, bias: Tensor, sides: tuple[int | str, ...]) -> None:
    check_tensors(**{name: weight, f"{name} bias": bias})
    check_floating(**{name: weight, f"{name} bias": bias})
    check_shape(name, weight, sides)
    check_shape(f"{name} bias", bias, (len(weight),))


def inverted_residual(
    input: Tensor,
    expansion: Tensor | None,
    depthwise: Tensor,
    projection: Tensor,
    out_channels: int,
    stride: int = 1,
    adds_input: bool = False,
    limit: float = 6.0,
) -> Tensor:
    """What an inverted residual block computes, (N, K, H', W') channels last.

    Three convolutions: of single cells to E channels, of each of these 3 x 3 cells, with zeros
    around the map, and of single cells to K channels. What is between them never leaves the
    cache. For inference: it has no derivative. Results are those of the three up to rounding, in
    the type of the input; 32 bits are computed in whatever it is. They do not depend on the
    number of threads, but their last bits do on the processor. Empty batches are ordinary.

    Args:
        input: (N, C, H, W) floating, H and W > 0; read without a copy where it is channels last
            and float32 or bfloat16.
        expansion: what ``pack_inverted_residual`` made, as the next two.
        depthwise: of the 3 x 3 convolution.
        projection: of the last one.
        out_channels: K.
        stride: of the 3 x 3 convolution, 1 or 2; H' = ceil(H / stride).
        adds_input: whether the input is added to the results, which has to be of their shape.
        limit: after either of the first two convolutions negative numbers become 0, and larger
            ones this; > 0, and infinite for ReLU. NaN stays.

    Raises:
        ValueError: wrong shape, type or device; another stride; a limit that is not positive.

    Source: MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al. 2018), sections
    3.3 and 5 ("Memory efficient inference").
    """
    weights = {"expansion": expansion, "depthwise": depthwise, "projection": projection}
    check_tensors(input=input, **weights)
    check_floating(input=input, **weights)
    # In the type that they are computed in; float32 is no copy.
    expanding, filtering, projecting = (
        None if weight is None else weight.float() for weight in weights.values()
    )
    assert filtering is not None
    assert projecting is not None
    stored = input if input.dtype in (torch.float32, torch.bfloat16) else input.float()
    arguments = (stored, expanding, filtering, projecting, out_channels, stride, adds_input, limit)
    packing.check(*arguments)
    output: Tensor = torch.ops.centermask.inverted_residual(*arguments)
    return output.to(input.dtype)


def inverted_residual_int16(
    input: Tensor,
    weights: IntegerBlockWeights,
    out_channels: int,
    stride: int = 1,
    adds_input: bool = False,
) -> Tensor:
    """What ``inverted_residual`` computes, by products of integers: (N, K, H', W') channels last.

    For inference: it has no derivative. The channels of a cell that come in are rounded to 2^13 to
    2^14 steps up to the greatest of them, what is between to 2^15 up to the limit, and results are
    about 3e-4 of their size from the exact ones. Fast on processors that add products of 16-bit
    integers in pairs (AVX-512 VNNI), slow elsewhere. Results do not depend on the number of
    threads, but their last bits do on the processor. What depends on a value that is not finite
    becomes NaN. Empty batches are ordinary.

    Args:
        input: (N, C, H, W) floating, H and W > 0; read without a copy where it is channels last
            and float32 or bfloat16.
        weights: what ``pack_inverted_residual_int16`` made.
        out_channels: K.
        stride: of the 3 x 3 convolution, 1 or 2; H' = ceil(H / stride).
        adds_input: whether the input is added to the results, which has to be of their shape.

    Raises:
        ValueError: wrong shape, type or device; another stride.

    Source: as of ``inverted_residual``.
    """
    check_tensors(input=input, **weights._asdict())
    check_floating(input=input, factors=weights.factors)
    stored = input if input.dtype in (torch.float32, torch.bfloat16) else input.float()
    arguments = (stored, *weights, out_channels, stride, adds_input)
    integers.check(*arguments)
    output: Tensor = torch.ops.centermask.inverted_residual_int16(*arguments)
    return output.to(input.dtype)
