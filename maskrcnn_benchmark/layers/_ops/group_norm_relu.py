"""GroupNorm with a ReLU behind it, for inference.

Shape symbols: N images, C channels, H x W feature map.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator, no_derivative

_TYPES = (torch.float32, torch.float64, torch.bfloat16)


def _memory_format(input: Tensor) -> torch.memory_format:
    """That of the result: channels last only where the input can be nothing else."""
    is_last = input.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last and not input.is_contiguous() else torch.contiguous_format


def _check(input: Tensor, num_groups: int, weight: Tensor, bias: Tensor) -> None:
    check_shape("input", input, (None,) * 4)
    num_channels = input.shape[1]
    if input.dtype not in _TYPES:
        raise ValueError(f"input: expected one of {_TYPES}, got {input.dtype}")
    precise = torch.promote_types(input.dtype, torch.float32)
    for name, parameter in (("weight", weight), ("bias", bias)):
        check_shape(name, parameter, (num_channels,))
        check_dtype(name, parameter, precise)
    if num_groups < 1 or num_channels % num_groups:
        raise ValueError(f"num_groups: expected a divisor of {num_channels}, got {num_groups}")


def group_norm_relu(
    input: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float, relu: bool = True
) -> Tensor:
    """Normalised maps (N, C, H, W); arguments as in ``layers.group_norm_relu``."""
    _check(input, num_groups, weight, bias)
    # The dispatcher takes numbers for their truth, and None for False.
    if not (relu is None or isinstance(relu, (int, float))):
        raise ValueError(f"relu: expected True or False, got {relu!r}")
    if input.numel() == 0:
        return torch.empty_like(input, memory_format=_memory_format(input))
    output = torch.group_norm(input.to(weight.dtype), num_groups, weight, bias, eps)
    if relu:
        output = output.relu_()
    return output.to(input.dtype).contiguous(memory_format=_memory_format(input))


def _fake(
    input: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float, relu: bool = True
) -> Tensor:
    del num_groups, weight, bias, eps, relu
    return torch.empty_like(input, memory_format=_memory_format(input))


OPERATORS = (
    Operator(
        name="group_norm_relu",
        schema=(
            "(Tensor input, int num_groups, Tensor weight, Tensor bias, float eps,"
            " bool relu=True) -> Tensor"
        ),
        reference=group_norm_relu,
        fake=_fake,
        backward=no_derivative("group_norm_relu"),
    ),
)
