"""3 x 3 convolutions with a quarter of the multiplications, for training.

Shape symbols: N images, C input and K output channels, H x W cells before, H' x W' after.
"""

from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors
from maskrcnn_benchmark.layers.winograd import winograd_conv3x3

_MOST_PADDING = 2
_TILE = 4
# From so many channels and tiles of 4 x 4 results on it is faster than PyTorch's convolution.
_LIMITS = {torch.float32: (32, 100), torch.bfloat16: (64, 400)}


def conv3x3(input: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 1) -> Tensor:
    """``F.conv2d(input, weight, bias, padding=padding)``, (N, K, H', W') channels last.

    The result and the gradients are those of the plain convolution up to rounding: about 1e-6 of
    their size from the exact ones in 32 bits. They do not depend on the number of threads, but
    their last bits do on the processor. Second derivatives are the plain ones. Empty batches are
    ordinary.

    Args:
        input: (N, C, H, W) float32 or bfloat16, in which the result and its own gradient are, too;
            32 bits are computed in.
        weight: (K, C, 3, 3) float32.
        bias: (K,) float32, or None.
        padding: rows and columns of zeros on each side, 0 to 2; H' = H + 2 padding - 2.

    Raises:
        ValueError: wrong shape, type or device; fewer than 3 rows or columns.

    Source: Fast Algorithms for Convolutional Neural Networks (Lavin and Gray 2015), section 4.1,
    F(4 x 4, 3 x 3).
    """
    check_tensors(input=input, weight=weight)
    check_floating(input=input, weight=weight)
    check_shape("input", input, ("N", "C", "H", "W"))
    check_shape("weight", weight, ("K", input.shape[1], 3, 3))
    if bias is not None:
        check_tensors(input=input, bias=bias)
        check_shape("bias", bias, (len(weight),))
    if input.dtype not in _LIMITS:
        raise ValueError(f"input: expected float32 or bfloat16, got {input.dtype}")
    if weight.dtype != torch.float32:
        raise ValueError(f"weight: expected float32, got {weight.dtype}")
    if not 0 <= padding <= _MOST_PADDING:
        raise ValueError(f"padding: expected 0 to {_MOST_PADDING}, got {padding}")
    result: Tensor = _Conv3x3.apply(input, weight, bias, padding)
    return result


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        offsets = weight.new_zeros(len(weight)) if bias is None else bias
        packed = torch.ops.centermask.winograd_pack(weight, False)
        return _as_made_here(winograd_conv3x3(input, packed, offsets, padding))

    @staticmethod
    def setup_context(
        ctx: Any,  # noqa: ANN401 - of PyTorch
        inputs: tuple[Any, ...],
        output: Tensor,
    ) -> None:
        del output
        input, weight, bias, ctx.padding = inputs
        ctx.save_for_backward(input, weight)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - of PyTorch
        grad: Tensor,
    ) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        wants = [*ctx.needs_input_grad[:2], ctx.has_bias and ctx.needs_input_grad[2]]
        if torch.is_grad_enabled():
            return *_plain_gradients(grad, input, weight, ctx.padding, wants), None
        of_input = of_weight = of_bias = None
        if wants[0]:
            packed = torch.ops.centermask.winograd_pack(weight, True)
            offsets = weight.new_zeros(weight.shape[1])
            of_input = winograd_conv3x3(grad, packed, offsets, _MOST_PADDING - ctx.padding)
        if wants[1]:
            gradient = torch.ops.centermask.winograd_conv3x3_weight_grad
            of_weight = gradient(grad, input, ctx.padding)
        if wants[2]:
            of_bias = grad.sum((0, 2, 3), dtype=torch.float32)
        return of_input, of_weight, of_bias, None


def _as_made_here(maps: Tensor) -> Tensor:
    """The same memory as a tensor that is no view: autograd lets no view be changed in place."""
    result: Tensor = torch.ops.aten._unsafe_view(maps, maps.shape)
    return result


def _plain_gradients(
    grad: Tensor, input: Tensor, weight: Tensor, padding: int, wants: list[bool]
) -> list[Tensor | None]:
    """Of input, weight and bias, as PyTorch computes them; they can be differentiated again."""
    gradients = torch.ops.aten.convolution_backward(
        *(grad, input, weight.to(input.dtype), [len(weight)]),
        *([1, 1], [padding, padding], [1, 1], False, [0, 0], 1, wants),
    )
    types = (input.dtype, weight.dtype, weight.dtype)
    return [
        each.to(dtype) if wanted else None
        for each, dtype, wanted in zip(gradients, types, wants, strict=True)
    ]


class MinimalConv2d(nn.Conv2d):
    """A convolution that computes by ``conv3x3`` in training, where that is faster.

    It takes arguments for which ``suits`` is true of the convolution; names and parameters are the
    same. In evaluation it is PyTorch's own.
    """

    @staticmethod
    def suits(conv: nn.Conv2d) -> bool:
        """Whether ``conv3x3`` can compute a convolution: 3 x 3 with stride 1, and no more."""
        return (
            (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1))
            and conv.groups == 1
            and conv.padding_mode == "zeros"
            and conv.padding in [(padding, padding) for padding in range(_MOST_PADDING + 1)]
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.training and input.device.type == "cpu":
            maps = input
            if torch.is_autocast_enabled("cpu") and input.dtype != torch.float64:
                maps = input.to(torch.get_autocast_dtype("cpu"))
            if _is_faster(maps, weight):
                with torch.autocast("cpu", enabled=False):
                    return conv3x3(maps, weight, bias, int(self.padding[0]))
        plain: Tensor = super()._conv_forward(input, weight, bias)
        return plain


def _is_faster(input: Tensor, weight: Tensor) -> bool:
    if weight.dtype != torch.float32 or input.dtype not in _LIMITS or input.dim() != 4:
        return False
    least_channels, least_tiles = _LIMITS[input.dtype]
    num_images, _, height, width = input.shape
    num_tiles = num_images * -(-height // _TILE) * -(-width // _TILE)
    return min(weight.shape[:2]) >= least_channels and num_tiles >= least_tiles
