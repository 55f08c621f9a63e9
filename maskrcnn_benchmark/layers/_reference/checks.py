"""What the twins refuse, as the kernels do (csrc/stable_util.h): errors that name the argument."""

from collections.abc import Sequence

import torch
from torch import Tensor

_MOST_ELEMENTS = 2**40


def check_shape(name: str, tensor: Tensor, sides: Sequence[int | None]) -> None:
    """Raise unless the tensor has these sides; one that is None may have any length."""
    fits = tensor.dim() == len(sides) and all(
        side in (None, size) for size, side in zip(tensor.shape, sides, strict=True)
    )
    if not fits:
        wanted = ", ".join("*" if side is None else str(side) for side in sides)
        raise ValueError(f"{name}: expected shape ({wanted}), got {tuple(tensor.shape)}")


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


def check_images(rois: Tensor, num_images: int) -> None:
    """Raise unless every roi names an image of the batch (on the CPU)."""
    images = rois[:, 0]
    row = first_refused((images >= 0) & (images < num_images))
    if row is not None:
        wanted = f"image indices in [0, {num_images})"
        raise ValueError(f"rois: expected {wanted}, got {images[row].item()} in row {row}")
