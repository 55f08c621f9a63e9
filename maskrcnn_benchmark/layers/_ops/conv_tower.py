"""Towers of 3 x 3 convolutions over maps of several sizes, for inference.

Shape symbols: N images, C channels of the maps, Hi x Wi cells of map i, L convolutions before the
last ones, K output channels of all of these. C' and K' are multiples of 16.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative
from maskrcnn_benchmark.layers._ops.packing import num_depths, padded_outputs
from maskrcnn_benchmark.layers._ops.winograd import (
    num_weights,
    winograd_conv3x3,
    winograd_conv3x3_int16,
)


def check(
    maps: Sequence[Tensor],
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor,
    norm: Tensor | None,
    num_convs: int,
    num_groups: int,
    widths: Sequence[int],
) -> None:
    """Raise ValueError unless arguments of ``conv_tower`` fit one another."""
    if not maps:
        raise ValueError("maps: expected at least one, got none")
    for each in maps:
        num_channels = maps[0].shape[1] if maps[0].dim() == 4 else None
        check_shape("maps", each, (None, num_channels, None, None))
        check_dtype("maps", each, torch.float32)
        if each.device != maps[0].device:
            raise ValueError(f"maps: expected one device, got {maps[0].device} and {each.device}")
        if min(each.shape[2:]) < 1:
            raise ValueError(f"maps: expected at least one cell, got {tuple(each.shape)}")
    num_channels = maps[0].shape[1]
    if num_channels < 1:
        raise ValueError(f"maps: expected at least one channel, got {tuple(maps[0].shape)}")
    if num_convs < 0:
        raise ValueError(f"num_convs: expected at least 0, got {num_convs}")
    if not widths or min(widths) < 1:
        raise ValueError(f"widths: expected numbers of at least 1, got {list(widths)}")
    _check_weights(num_channels, weight, scale, bias, num_convs, widths)
    if norm is not None:
        check_shape("norm", norm, (num_convs, 2, num_channels))
        check_dtype("norm", norm, torch.float32)
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"num_groups: expected a divisor of {num_channels}, got {num_groups}")


def _check_weights(
    num_channels: int,
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor,
    num_convs: int,
    widths: Sequence[int],
) -> None:
    rows = num_channels if scale is None else num_channels + num_channels % 2
    check_shape("weight", weight, (_count(rows, num_channels, num_convs, widths),))
    check_dtype("weight", weight, torch.float32 if scale is None else torch.int16)
    if scale is not None:
        count = _count(num_depths(num_channels), num_channels, num_convs, widths)
        check_shape("scale", scale, (count,))
        check_dtype("scale", scale, torch.float32)
    num_outputs = sum(map(padded_outputs, widths))
    check_shape("bias", bias, (num_convs * padded_outputs(num_channels) + num_outputs,))
    check_dtype("bias", bias, torch.float32)


def _count(rows: int, num_channels: int, num_convs: int, widths: Sequence[int]) -> int:
    """Numbers in the weights of all convolutions, with so many rows a matrix."""
    last = num_weights(rows, sum(map(padded_outputs, widths)))
    return num_convs * num_weights(rows, num_channels) + last


def _parts(packed: Tensor, rows: int, num_channels: int, num_convs: int) -> list[Tensor]:
    """The weights of each convolution."""
    inner = num_weights(rows, num_channels)
    sizes = [inner] * num_convs
    return list(torch.split(packed, [*sizes, packed.numel() - sum(sizes)]))


def conv_tower(
    maps: Sequence[Tensor],
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor,
    norm: Tensor | None,
    num_convs: int,
    num_groups: int,
    eps: float,
    widths: Sequence[int],
) -> list[Tensor]:
    """For each of the maps (N, C, Hi, Wi) one (N, width, Hi, Wi), channels last, for each width.

    Args:
        maps: float32.
        weight: of L convolutions (C, C, 3, 3), and of one (K', C, 3, 3), packed one after the
            other; float32, or int16 where there is a scale.
        scale: of the integers, or None.
        bias: (L C' + K',).
        norm: (L, 2, C), weight and bias of the normalisation behind each of the L convolutions, or
            None: then ReLU alone follows.
        num_convs: L.
        num_groups: of the channels that are normalised.
        eps: of the normalisation.
        widths: output channels; each begins with a multiple of 16 of the K'.
    """
    check(maps, weight, scale, bias, norm, num_convs, num_groups, widths)
    num_channels = maps[0].shape[1]
    rows = num_channels if scale is None else num_channels + num_channels % 2
    weights = _parts(weight, rows, num_channels, num_convs)
    scales: Sequence[Tensor | None] = [None] * len(weights)
    if scale is not None:
        scales = _parts(scale, num_depths(num_channels), num_channels, num_convs)
    num_outputs = sum(map(padded_outputs, widths))
    biases = torch.split(bias, [padded_outputs(num_channels)] * num_convs + [num_outputs])
    begins = accumulate(map(padded_outputs, widths), initial=0)
    slices = [slice(begin, begin + width) for begin, width in zip(begins, widths, strict=False)]
    results = []
    for x in maps:
        y = x
        for index in range(num_convs):
            y = _convolved(y, weights[index], scales[index], biases[index][:num_channels])
            if norm is not None and y.numel() > 0:
                y = torch.group_norm(y, num_groups, norm[index, 0], norm[index, 1], eps)
            y = y.relu()
        y = _convolved(y, weights[-1], scales[-1], biases[-1])
        last = torch.channels_last
        results += [y[:, each].contiguous(memory_format=last) for each in slices]
    return results


def _convolved(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor) -> Tensor:
    if scale is None:
        return winograd_conv3x3(x, weight, bias, 1)
    return winograd_conv3x3_int16(x, weight, scale, bias, 1)


def _fake(
    maps: Sequence[Tensor],
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor,
    norm: Tensor | None,
    num_convs: int,
    num_groups: int,
    eps: float,
    widths: Sequence[int],
) -> list[Tensor]:
    del weight, scale, bias, norm, num_convs, num_groups, eps
    return [
        x.new_empty(x.shape[0], *x.shape[2:], width).permute(0, 3, 1, 2)
        for x in maps
        for width in widths
    ]


OPERATORS = (
    Operator(
        name="conv_tower",
        schema=(
            "(Tensor[] maps, Tensor weight, Tensor? scale, Tensor bias, Tensor? norm, "
            "int num_convs, int num_groups, float eps, int[] widths) -> Tensor[]"
        ),
        reference=conv_tower,
        fake=_fake,
        backward=no_derivative("conv_tower"),
    ),
)
