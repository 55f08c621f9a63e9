"""Transposed convolutions whose results do not overlap, as convolutions of single cells.

Shapes: N images, C input and O output channels, H x W cells before, each of which becomes P x Q.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.layers import place_patches


class PatchConvTranspose2d(nn.Module):
    """A transposed convolution, and the activation behind it, that makes a patch of each cell.

    Results lie in memory as NHWC.

    Args:
        cells: computes all numbers of a patch from the cell, as the channels of its results, in
            the order of ``cell_conv``.
        patch_hw: P and Q.
    """

    def __init__(self, cells: nn.Module, patch_hw: Sequence[int]) -> None:
        super().__init__()
        self.cells = cells
        self.patch_hw = tuple(patch_hw)

    def forward(self, x: Tensor) -> Tensor:
        """(N, O, P H, Q W) of maps (N, C, H, W)."""
        num_images, _, height, width = x.shape
        rows, columns = self.patch_hw
        numbers: Tensor = self.cells(x)
        patches = numbers.permute(0, 2, 3, 1).reshape(
            num_images, height, width, rows, columns, numbers.shape[1] // (rows * columns)
        )
        return place_patches(patches).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """What it makes, for printing the module."""
        return f"patch_hw={self.patch_hw}"
