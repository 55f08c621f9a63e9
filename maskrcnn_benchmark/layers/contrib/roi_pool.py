"""RoIPool, the rounded predecessor of RoIAlign.

Shape symbols: N images, C channels, H x W feature map, R rois, P x Q pooled size.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import ShowsArguments, as_pair
from maskrcnn_benchmark.layers.roi_align import check_rois


def roi_pool(
    input: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float
) -> Tensor:
    """Largest feature in each cell of a grid over each roi, (R, C, P, Q), typed as the input.

    A roi's corners are scaled and rounded to cells (halves away from zero); both end cells count.
    Bins overlap by a cell where the sides do not divide; a bin outside the map is 0. NaN is larger
    than any number. Differentiable (twice) in ``input``: the gradient goes to the first largest
    cell, row by row. Deterministic on the CPU.

    Arguments and errors are those of ``roi_align``.

    Source: Fast R-CNN (Girshick 2015), section 2.1.
    """
    height, width = as_pair(output_size, "output_size")
    check_rois(input, rois, (height, width), spatial_scale)
    precise = input if input.dtype == torch.float64 else input.float()
    pooled: Tensor
    pooled, _ = torch.ops.centermask.roi_pool(
        precise, rois.to(precise.dtype), spatial_scale, height, width
    )
    return pooled.to(input.dtype)


class ROIPool(ShowsArguments):
    """Module form of ``roi_pool``; the arguments have the same meaning."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Features of each roi, (R, C, P, Q)."""
        return roi_pool(input, rois, self.output_size, self.spatial_scale)
