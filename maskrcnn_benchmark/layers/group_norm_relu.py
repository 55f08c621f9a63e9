"""GroupNorm and ReLU in one pass less over memory.

Shape symbols: N images, C channels, H x W feature map.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops import group_norm_relu as differentiable
from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors


def group_norm_relu(
    input: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-5,
    relu: bool = True,
) -> Tensor:
    """``relu(torch.group_norm(...))``, (N, C, H, W) in the type of the input.

    For inference: where a gradient is asked for, PyTorch's own operators compute it. The result is
    channels last if the input is. Sums are of 64 bits, and each value is rounded once to the
    type of the input. Deterministic, with any number of threads. Empty maps are ordinary.

    Args:
        input: (N, C, H, W) floating. bfloat16 is read and written as it is, float16 by way of
            float32.
        num_groups: divides C; mean and variance are those of C / num_groups channels of an image.
        weight: (C,) floating, multiplied with the normalised values.
        bias: (C,) floating, added to them.
        eps: added to the variance, > 0.
        relu: whether negative values become 0. NaN stays.

    Raises:
        ValueError: wrong shape, type or device; groups that do not divide the channels.

    Source: Group Normalization (Wu and He 2018), section 3.
    """
    check_tensors(input=input, weight=weight, bias=bias)
    check_floating(input=input, weight=weight, bias=bias)
    check_shape("input", input, ("N", "C", "H", "W"))
    num_channels = input.shape[1]
    check_shape("weight", weight, (num_channels,))
    check_shape("bias", bias, (num_channels,))
    if num_groups < 1 or num_channels % num_groups:
        raise ValueError(f"num_groups: expected a divisor of {num_channels}, got {num_groups}")
    stored = input.float() if input.dtype == torch.float16 else input
    precise = torch.promote_types(stored.dtype, torch.float32)
    needs_grad = any(each.requires_grad for each in (input, weight, bias))
    compute = (
        differentiable.group_norm_relu
        if needs_grad and torch.is_grad_enabled()
        else torch.ops.centermask.group_norm_relu
    )
    output: Tensor = compute(stored, num_groups, weight.to(precise), bias.to(precise), eps, relu)
    return output.to(input.dtype)
