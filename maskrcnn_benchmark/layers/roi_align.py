"""RoIAlign in the legacy, un-aligned variant of Mask R-CNN, and in the aligned one.

Shape symbols: N images, C channels, H x W feature map, R rois, P x Q pooled size.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import (
    ShowsArguments,
    as_pair,
    check_floating,
    check_shape,
    check_spatial_scale,
    check_tensors,
)


def check_rois(
    input: Tensor, rois: Tensor, pooled_hw: tuple[int, int], spatial_scale: float
) -> None:
    """Raise ValueError naming the first argument of a pooling that has a wrong shape or value."""
    check_tensors(input=input, rois=rois)
    check_floating(input=input, rois=rois)
    check_shape("input", input, ("N", "C", "H", "W"))
    check_shape("rois", rois, ("R", 5))
    if min(pooled_hw) < 1:
        raise ValueError(f"output_size: expected positive sides, got {pooled_hw}")
    check_spatial_scale(spatial_scale)


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool = False,
) -> Tensor:
    """Features of each roi resampled to a fixed grid, (R, C, P, Q) in the type of the input.

    Each bin averages bilinear samples on a regular grid. Samples more than one cell outside the
    map count as zero. Differentiable (twice) in ``input``; deterministic on the CPU.

    Args:
        input: (N, C, H, W) floating, in any layout. Half precision and autocast compute in
            float32; channels-last maps of bfloat16 are not copied for that on the CPU.
        rois: (R, 5): image index in [0, N), then x1, y1, x2, y2 in px of the padded batch.
            Not differentiable.
        output_size: side, or (P, Q) = height and width, of the pooled map.
        spatial_scale: 1 / stride of the feature map.
        sampling_ratio: samples along each side of a bin; 0: one per started cell of the bin.
        aligned: as in ``torchvision.ops.roi_align``. False: a roi's corners are scaled and not
            shifted by half a pixel, its sides are at least one cell long. True: scaled corners
            move by -0.5, so that coordinates of cells mean their centres, and sides stay as
            short as they are; where one is not positive, an adaptive grid has no samples and
            the bin is 0.

    Raises:
        ValueError: wrong shape, type or device, non-positive size or scale.
        RuntimeError: image index out of range, on the CPU (ValueError without compiled operators).

    Source: Mask R-CNN (He et al. 2017), section 3.
    """
    height, width = as_pair(output_size, "output_size")
    check_rois(input, rois, (height, width), spatial_scale)
    settings = (spatial_scale, height, width, sampling_ratio, aligned)
    pool = torch.ops.centermask.roi_align
    pooled: Tensor
    if input.dtype == torch.bfloat16 and input.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):  # it would copy what the kernel reads as it is
            pooled = pool(input, rois.float(), *settings)
            return pooled
    precise = input if input.dtype == torch.float64 else input.float()
    pooled = pool(precise, rois.to(precise.dtype), *settings)
    return pooled.to(input.dtype)


class ROIAlign(ShowsArguments):
    """Module form of ``roi_align``; the arguments have the same meaning."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Features of each roi, (R, C, P, Q)."""
        return roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )
