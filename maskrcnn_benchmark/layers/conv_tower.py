"""Towers of 3 x 3 convolutions over maps of several sizes, for inference.

Shape symbols: N images, C channels of the maps, Hi x Wi cells of map i.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers._ops import conv_tower as operator
from maskrcnn_benchmark.layers._ops.packing import VECTOR
from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors
from maskrcnn_benchmark.layers.winograd import pack_winograd_weight, pack_winograd_weight_int16


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConv:
    """A 3 x 3 convolution of a tower, and the normalisation behind it.

    Args:
        weight: (K, C, 3, 3) floating.
        bias: (K,) floating.
        norm: weight and bias of a group normalisation, (K,) each, or None.
    """

    weight: Tensor
    bias: Tensor
    norm: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerWeight:
    """The weights of a tower as ``conv_tower`` reads them.

    Attributes:
        numbers: of all convolutions, float32, or int16 where products are of integers.
        scales: what to multiply integers with, float32, or None.
        bias: of all convolutions, float32.
        norm: (L, 2, C) float32, weights and biases of the normalisations, or None.
        num_convs: L, the convolutions that ReLU follows.
        num_groups: of the normalisations.
        eps: of the normalisations, > 0.
        widths: output channels of the last convolutions.
    """

    numbers: Tensor
    scales: Tensor | None
    bias: Tensor
    norm: Tensor | None
    num_convs: int
    num_groups: int
    eps: float
    widths: tuple[int, ...]


def pack_conv_tower(
    convs: Sequence[TowerConv],
    outputs: Sequence[TowerConv],
    *,
    num_groups: int = 1,
    eps: float = 1e-5,
    products: torch.dtype = torch.float32,
) -> TowerWeight:
    """The weights of a tower as ``conv_tower`` reads them.

    Args:
        convs: (C, C, 3, 3) each, one after the other; all are normalised or none.
        outputs: (K, C, 3, 3), K of its own each, at least one; they are not normalised.
        num_groups: of the normalisations, divides C.
        eps: of the normalisations, > 0.
        products: what is multiplied, float32 or int16, as in ``winograd_conv3x3_int16``.

    Raises:
        ValueError: wrong shape, type or number; some normalised and others not.
    """
    if not outputs:
        raise ValueError("outputs: expected at least one convolution, got none")
    _check_convs(convs, outputs)
    _check_settings(outputs[0].weight.shape[1], num_groups, eps, products)
    num_normed = sum(conv.norm is not None for conv in convs)
    if num_normed not in (0, len(convs)):
        raise ValueError(f"convs: expected a norm for all or none, got {num_normed} of them")
    last_weight = torch.cat([_padded(conv.weight) for conv in outputs])
    weights = [*(conv.weight for conv in convs), last_weight]
    scales = None
    if products is torch.int16:
        packed = [pack_winograd_weight_int16(weight) for weight in weights]
        numbers = torch.cat([each.integers for each in packed])
        scales = torch.cat([each.scales for each in packed])
    else:
        numbers = torch.cat([pack_winograd_weight(weight) for weight in weights])
    norms = [torch.stack(conv.norm) for conv in convs if conv.norm is not None]
    return TowerWeight(
        numbers=numbers,
        scales=scales,
        bias=torch.cat([_padded(conv.bias) for conv in (*convs, *outputs)]).float(),
        norm=torch.stack(norms).float() if norms else None,
        num_convs=len(convs),
        num_groups=num_groups,
        eps=eps,
        widths=tuple(len(conv.bias) for conv in outputs),
    )


def _padded(parameter: Tensor) -> Tensor:
    """With zeros up to the next multiple of 16 output channels."""
    around = (0, 0) * (parameter.dim() - 1)
    return F.pad(parameter.detach(), (*around, 0, -len(parameter) % VECTOR))


def _check_convs(convs: Sequence[TowerConv], outputs: Sequence[TowerConv]) -> None:
    num_channels = outputs[0].weight.shape[1] if outputs[0].weight.dim() == 4 else None
    for kind, group in (("convs", convs), ("outputs", outputs)):
        for index, conv in enumerate(group):
            name = f"{kind}[{index}]"
            check_tensors(**{f"{name}.weight": conv.weight, f"{name}.bias": conv.bias})
            check_floating(**{f"{name}.weight": conv.weight, f"{name}.bias": conv.bias})
            num_outputs = num_channels if kind == "convs" else None
            check_shape(f"{name}.weight", conv.weight, (num_outputs, num_channels, 3, 3))
            check_shape(f"{name}.bias", conv.bias, (len(conv.weight),))
            for parameter in conv.norm or ():
                check_shape(f"{name}.norm", parameter, (num_channels,))
    if any(conv.norm is not None for conv in outputs):
        raise ValueError("outputs: expected convolutions without a norm")


def _check_settings(num_channels: int, num_groups: int, eps: float, products: torch.dtype) -> None:
    if num_groups < 1 or num_channels % num_groups:
        raise ValueError(f"num_groups: expected a divisor of {num_channels}, got {num_groups}")
    if not 0 < eps < math.inf:
        raise ValueError(f"eps: expected a number above 0, got {eps}")
    if products not in (torch.float32, torch.int16):
        raise ValueError(f"products: expected torch.float32 or torch.int16, got {products}")


def conv_tower(maps: Sequence[Tensor], weight: TowerWeight) -> list[list[Tensor]]:
    """For each map a list with the results of each of the last convolutions, (N, K, Hi, Wi).

    relu(group_norm(conv(x))) again and again, and then several convolutions of the same map;
    padding is 1. Results are float32, channels last; each convolution is computed as by
    ``winograd_conv3x3`` or ``winograd_conv3x3_int16``, but normalised by the next one as it reads
    the map, so that normalisation takes no pass over memory. For inference: it has no derivative.
    Results do not depend on the number of threads. Empty batches are ordinary.

    Args:
        maps: (N, C, Hi, Wi) floating each, at least one cell; read without a copy where they are
            channels last and float32.
        weight: what ``pack_conv_tower`` made.

    Raises:
        ValueError: wrong shape, type or device.

    Source: Group Normalization (Wu and He 2018), section 3; convolutions as ``winograd_conv3x3``.
    """
    for index, x in enumerate(maps):
        check_tensors(**{f"maps[{index}]": x})
        check_floating(**{f"maps[{index}]": x})
    tensors = (weight.numbers, weight.scales, weight.bias, weight.norm)
    sizes = (weight.num_convs, weight.num_groups)
    stored = [x.float() for x in maps]
    operator.check(stored, *tensors, *sizes, weight.widths)
    results: list[Tensor] = torch.ops.centermask.conv_tower(
        stored, *tensors, *sizes, weight.eps, weight.widths
    )
    width = len(weight.widths)
    return [results[first : first + width] for first in range(0, len(results), width)]
