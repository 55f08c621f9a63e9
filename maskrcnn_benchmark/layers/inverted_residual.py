"""Inverted residual blocks in one pass over memory, for inference.

Shape symbols: N images, C input and K output channels, E channels between, H x W cells before,
H' x W' after.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers._ops import inverted_residual as packing
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
