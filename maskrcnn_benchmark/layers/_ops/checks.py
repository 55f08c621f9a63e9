"""What the twins refuse, as the kernels do: errors that name the argument.

As csrc/stable_util.h; and csrc/pooling_checks.h, where R rois of (N, C, H, W) become (R, C, P, Q).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import check_shape as check_shape

_MOST_ELEMENTS = 2**40

MOST_SAMPLES_PER_BIN = 2**12
"""More along a side of a bin would keep a processor busy for hours."""


def check_dtype(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Raise unless the tensor is of this type."""
    if tensor.dtype != dtype:
        raise ValueError(f"{name}: expected {dtype}, got {tensor.dtype}")


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise unless the tensor is of a type that kernels compute in."""
    if tensor.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name}: expected torch.float32 or torch.float64, got {tensor.dtype}")


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Raise unless least <= value <= most."""
    if not least <= value <= most:
        raise ValueError(f"{name}: expected {least} to {most}, got {value}")


def check_sides(names: str, sides: Sequence[int]) -> None:
    """Raise unless the sides of a tensor to be made are >= 0 and their product is below 2^40."""
    num_elements = 1
    for side in sides:
        if side < 0:
            raise ValueError(f"{names}: expected at least 0, got {side}")
        num_elements *= max(side, 1)
    if num_elements > _MOST_ELEMENTS:
        raise ValueError(f"{names}: expected fewer than 2^40 elements, got {tuple(sides)}")


def first_refused(accepted: Tensor) -> int | None:
    """Row of the first value not accepted; looked for on the CPU only (elsewhere it would sync)."""
    if accepted.device.type != "cpu" or bool(accepted.all()):
        return None
    return int(accepted.int().argmin())


def check_rois(rois: Tensor, num_images: int, map_hw: tuple[int, int]) -> None:
    """Raise unless the rois, (R, 5), name images (on the CPU), and there is a map to pool from."""
    if len(rois) and min(map_hw) < 1:
        raise ValueError(f"rois: expected none on an empty feature map, got {len(rois)}")
    images = rois[:, 0]
    row = first_refused((images >= 0) & (images < num_images))
    if row is not None:
        wanted = f"image indices in [0, {num_images})"
        raise ValueError(f"rois: expected {wanted}, got {images[row].item()} in row {row}")


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
    """Raise unless a gradient can be spread over maps; ``channels`` None: as many as it has."""
    check_shape("rois", rois, (None, 5))
    check_shape("grad", grad, (len(rois), channels, None, None))
    check_floating("grad", grad)
    check_dtype("rois", rois, grad.dtype)
    if min(grad.shape[2:]) < 1:
        raise ValueError(f"grad: expected positive sides, got {tuple(grad.shape)}")
    sides = (batch_size, grad.shape[1], height, width)
    check_sides("batch_size, channels, height and width", sides)
    check_rois(rois, batch_size, (height, width))
