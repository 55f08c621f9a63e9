"""Deformable convolution, versions 1 (offsets) and 2 (offsets and modulation).

Shape symbols: N images, C input channels, O output channels, H x W input map, P x Q output map,
K = kernel height x kernel width taps, G groups, D deformable groups.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.deform_conv import output_hw
from maskrcnn_benchmark.layers.arguments import as_pair, check_floating, check_shape, check_tensors

IntOrPair: TypeAlias = int | tuple[int, int]


def _check_groups(input: Tensor, weight: Tensor, groups: int, deformable_groups: int) -> None:
    channels, outputs = input.shape[1], weight.shape[0]
    if groups < 1 or channels % groups or outputs % groups:
        wanted = f"a divisor of {channels} input and {outputs} output channels"
        raise ValueError(f"groups: expected {wanted}, got {groups}")
    if deformable_groups < 1 or channels % deformable_groups:
        wanted = f"a divisor of {channels} input channels"
        raise ValueError(f"deformable_groups: expected {wanted}, got {deformable_groups}")


def _convolve(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    geometry: tuple[IntOrPair, IntOrPair, IntOrPair],
    groups: int,
    deformable_groups: int,
) -> Tensor:
    check_tensors(input=input, offset=offset, mask=mask, weight=weight)
    check_floating(input=input, offset=offset, mask=mask, weight=weight)
    names = ("stride", "padding", "dilation")
    pairs = [as_pair(value, name) for value, name in zip(geometry, names, strict=True)]
    check_shape("input", input, ("N", "C", "H", "W"))
    kernel = ("kernel height", "kernel width")
    check_shape("weight", weight, ("O", "C / groups", *kernel))
    _check_groups(input, weight, groups, deformable_groups)
    check_shape("weight", weight, ("O", input.shape[1] // groups, *kernel))
    made_hw = output_hw(input, weight, pairs)
    maps = deformable_groups * weight.shape[2] * weight.shape[3]
    check_shape("offset", offset, (input.shape[0], 2 * maps, *made_hw))
    if mask is not None:
        check_shape("mask", mask, (input.shape[0], maps, *made_hw))
    precise = input if input.dtype == torch.float64 else input.float()
    output: Tensor = torch.ops.centermask.deform_conv(
        precise,
        offset.to(precise.dtype),
        None if mask is None else mask.to(precise.dtype),
        weight.to(precise.dtype),
        *pairs,
    )
    return output.to(input.dtype)


def deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    deformable_groups: int = 1,
    im2col_step: int = 64,
) -> Tensor:
    """Convolution whose taps read at shifted places, (N, O, P, Q) in the type of the input.

    Tap k of output (p, q) reads the input, interpolated bilinearly, at its regular place plus its
    own offset; cells outside the map count as zero. Differentiable in all tensors.

    Args:
        input: (N, C, H, W) floating. Half precision and autocast compute in float32.
        offset: (N, 2 D K, P, Q), cells: for each deformable group and tap, taps row by row, a shift
            down and a shift to the right.
        weight: (O, C / G, kernel height, kernel width).
        stride: step of the output, one number or (vertical, horizontal), >= 1.
        padding: zeros around the map, likewise, >= 0.
        dilation: distance of the taps, likewise, >= 1.
        groups: G; output channels of a group see the input channels of that group only.
        deformable_groups: D; the input channels are split into D parts with offsets of their own.
        im2col_step: accepted for old scripts; it changes nothing.

    Raises:
        ValueError: a wrong shape or type, number of groups, stride, padding or dilation.

    Source: Deformable Convolutional Networks (Dai et al. 2017), section 2.1.
    """
    del im2col_step
    geometry = (stride, padding, dilation)
    return _convolve(input, offset, None, weight, geometry, groups, deformable_groups)


def modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """``deform_conv`` whose samples are also weighed, (N, O, P, Q) in the type of the input.

    Arguments and errors are those of ``deform_conv``, and ``mask``, (N, D K, P, Q) factor of each
    sample, usually in [0, 1]; ``bias``, (O,) added to the output, or None.

    Source: Deformable ConvNets v2 (Zhu et al. 2019), section 3.2.
    """
    geometry = (stride, padding, dilation)
    output = _convolve(input, offset, mask, weight, geometry, groups, deformable_groups)
    if bias is None:
        return output
    check_tensors(input=input, bias=bias)
    check_shape("bias", bias, (weight.shape[0],))
    return output + bias[:, None, None].to(output.dtype)
