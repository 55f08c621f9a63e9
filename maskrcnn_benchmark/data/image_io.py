"""Photos of every kind as 8-bit RGB, tensors among them; files are read without PyTorch."""

import os
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from centermask_runtime import image_io
from centermask_runtime.errors import ImageReadError
from centermask_runtime.image_io import (
    JPEG_END,
    has_uncertain_turn,
    lacks_end,
    look_at_image,
    read_image,
    read_size,
)

__all__ = [
    "JPEG_END",
    "ImageReadError",
    "Photo",
    "as_image",
    "has_uncertain_turn",
    "lacks_end",
    "look_at_image",
    "read_image",
    "read_size",
]

Photo: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray[Any, Any] | Tensor"
"""What ``as_image`` takes."""


def as_image(photo: Photo) -> Image.Image:
    """A photo of any kind as an 8-bit RGB image.

    Args:
        photo: the path of a file, read and turned upright by ``read_image``; a Pillow image, as it
            is; an array (H, W), (H, W, 3) or (H, W, 4), gray, RGB or RGBA, uint8 or uint16; or a
            tensor (3, H, W), RGB, uint8, or float in 0..1.

    Raises:
        ImageReadError: a file that cannot be read.
        TypeError: another kind of object.
        ValueError: an array or tensor of another shape or type, or without a pixel.
    """
    if isinstance(photo, Tensor):
        return Image.fromarray(_pixels_of_tensor(photo))
    return image_io.as_image(photo)


def _pixels_of_tensor(photo: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3)."""
    if 0 in photo.shape:
        raise ValueError(f"photo: expected at least one pixel, got {tuple(photo.shape)}")
    is_known = photo.dtype == torch.uint8 or photo.is_floating_point()
    if photo.ndim != 3 or photo.shape[0] != 3 or not is_known:
        raise ValueError(
            "photo: expected a tensor (3, H, W) of RGB, uint8 or float, got "
            f"{tuple(photo.shape)} {photo.dtype}"
        )
    values = photo.detach().cpu().permute(1, 2, 0)
    if values.is_floating_point():
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("photo: expected a float tensor with values in 0..1")
        values = (values * 255).round().to(torch.uint8)
    return values.contiguous().numpy()
