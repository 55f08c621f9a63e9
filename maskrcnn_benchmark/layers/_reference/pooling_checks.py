"""What the twins that pool regions refuse, as the kernels do (csrc/pooling_checks.h).

Shape symbols: N images, C channels, H x W feature map, R rois, P x Q pooled size.
"""

from torch import Tensor

from maskrcnn_benchmark.layers._reference.checks import (
    check_dtype,
    check_floating,
    check_images,
    check_shape,
    check_sides,
)

MOST_SAMPLES_PER_BIN = 2**12
"""More along a side of a bin would keep a processor busy for hours."""


def check_rois(rois: Tensor, num_images: int, map_hw: tuple[int, int]) -> None:
    """Raise unless the rois, (R, 5), name images, and there is a map to pool from."""
    if len(rois) and min(map_hw) < 1:
        raise ValueError(f"rois: expected none on an empty feature map, got {len(rois)}")
    check_images(rois, num_images)


def check_pooling(input: Tensor, rois: Tensor, pooled_height: int, pooled_width: int) -> None:
    """Raise unless (N, C, H, W) features can be pooled to (R, C, P, Q)."""
    check_shape("input", input, (None,) * 4)
    check_floating("input", input)
    check_shape("rois", rois, (None, 5))
    check_dtype("rois", rois, input.dtype)
    names, pooled_hw = "pooled_height and pooled_width", (pooled_height, pooled_width)
    if min(pooled_hw) < 1:
        raise ValueError(f"{names}: expected positive sides, got {pooled_hw}")
    check_sides(names, (len(rois), input.shape[1], *pooled_hw))
    check_rois(rois, len(input), (input.shape[2], input.shape[3]))


def check_sampling_ratio(sampling_ratio: int) -> None:
    """Raise unless so many samples can be waited for; 0 and less: adaptive."""
    if sampling_ratio > MOST_SAMPLES_PER_BIN:
        wanted = f"at most {MOST_SAMPLES_PER_BIN}"
        raise ValueError(f"sampling_ratio: expected {wanted}, got {sampling_ratio}")


def check_pooled_grad(
    grad: Tensor, rois: Tensor, batch_size: int, channels: int | None, height: int, width: int
) -> None:
    """Raise unless a gradient (R, C, P, Q) can be spread over maps (N, C, H, W).

    Args:
        grad: the gradient.
        rois: (R, 5).
        batch_size: N.
        channels: C, None: as many as the gradient has.
        height: H.
        width: W.
    """
    check_shape("rois", rois, (None, 5))
    check_shape("grad", grad, (len(rois), channels, None, None))
    check_floating("grad", grad)
    check_dtype("rois", rois, grad.dtype)
    if min(grad.shape[2:]) < 1:
        raise ValueError(f"grad: expected positive sides, got {tuple(grad.shape)}")
    sides = (batch_size, grad.shape[1], height, width)
    check_sides("batch_size, channels, height and width", sides)
    check_rois(rois, batch_size, (height, width))
