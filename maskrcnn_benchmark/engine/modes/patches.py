"""Transposed convolutions whose results do not overlap, as convolutions of single cells.

Shapes: N images, C input and O output channels, H x W cells before, each of which becomes P x Q.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.engine.modes.fused_layers import FoldedConv

_UNIT, _NOTHING = (1, 1), (0, 0)


class PatchConvTranspose2d(nn.Module):
    """A transposed convolution, and the activation behind it, that makes a patch of each cell.

    Results lie in memory as NHWC.

    Args:
        cells: computes all numbers of a patch from the cell, as the channels of its results, in
            the order of ``of_cells``.
        patch_hw: P and Q.
    """

    def __init__(self, cells: nn.Module, patch_hw: Sequence[int]) -> None:
        super().__init__()
        self.cells = cells
        self.patch_hw = tuple(patch_hw)

    @staticmethod
    def suits(conv: nn.ConvTranspose2d) -> bool:
        """Whether the kernel is as large as the stride, and nothing is cut off."""
        return (
            type(conv).forward is nn.ConvTranspose2d.forward
            and (conv.kernel_size, conv.padding, conv.output_padding)
            == (conv.stride, _NOTHING, _NOTHING)
            and (conv.dilation, conv.groups) == (_UNIT, 1)
        )

    @staticmethod
    def of_cells(conv: nn.ConvTranspose2d) -> FoldedConv:
        """The convolution of a cell to the P x Q x O numbers of its patch, in this order."""
        num_inputs, num_outputs, height, width = conv.weight.shape
        weight = conv.weight.detach().permute(2, 3, 1, 0).reshape(-1, num_inputs, 1, 1)
        bias = conv.weight.new_zeros(num_outputs) if conv.bias is None else conv.bias.detach()
        return FoldedConv(
            weight=weight,
            bias=bias.repeat(height * width),
            stride=_UNIT,
            padding=_NOTHING,
            dilation=_UNIT,
            groups=1,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, O, P H, Q W) of maps (N, C, H, W)."""
        num_images, _, height, width = x.shape
        rows, columns = self.patch_hw
        numbers: Tensor = self.cells(x)
        num_outputs = numbers.shape[1] // (rows * columns)
        patches = numbers.permute(0, 2, 3, 1).reshape(
            num_images, height, width, rows, columns, num_outputs
        )
        maps = patches.permute(0, 1, 3, 2, 4, 5).reshape(
            num_images, height * rows, width * columns, num_outputs
        )
        return maps.permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """What it makes, for printing the module."""
        return f"patch_hw={self.patch_hw}"
