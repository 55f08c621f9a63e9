"""A batch of images of different sizes in one padded tensor.

Shapes: N images of C channels; H, W the common padded height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageList:
    """Images in one tensor, padded right and bottom, and their true sizes.

    Attributes:
        tensors: (N, C, H, W) images.
        image_sizes: true (height, width) of each image; the rest of its plane is padding.

    Raises:
        ValueError: the number of sizes differs from the number of images.
    """

    tensors: Tensor
    image_sizes: Sequence[tuple[int, int]]

    def __post_init__(self) -> None:
        if len(self.tensors) != len(self.image_sizes):
            raise ValueError(f"{len(self.tensors)} images, but {len(self.image_sizes)} image_sizes")

    def __len__(self) -> int:
        return len(self.image_sizes)

    def to(self, *args: Any, **kwargs: Any) -> ImageList:
        """The same batch after ``Tensor.to`` with these arguments (device, dtype, ...)."""
        return ImageList(self.tensors.to(*args, **kwargs), self.image_sizes)


def to_image_list(
    tensors: Tensor | ImageList | Sequence[Tensor], size_divisible: int = 0
) -> ImageList:
    """The images as an ImageList, zero-padded right and bottom to a common size.

    Args:
        tensors: an ImageList (returned as it is), one image (C, H, W), a batch (N, C, H, W), or a
            sequence of images (C, H_i, W_i) of any size, of one dtype and device.
        size_divisible: height and width become multiples of this; 0 or 1 adds nothing.

    Raises:
        ValueError: no image (there is no channel count to go by), an image that is not
            (C, H, W), or channel counts that differ.
        TypeError: something else than tensors.
    """
    if isinstance(tensors, ImageList):
        return tensors
    if isinstance(tensors, Tensor):
        if tensors.ndim not in (3, 4):
            raise ValueError(
                f"images must be (C, H, W) or (N, C, H, W), not {tuple(tensors.shape)}"
            )
        batch = tensors if tensors.ndim == 4 else tensors[None]
        height, width = batch.shape[-2:]
        padded_height, padded_width = _padded_hw([(height, width)], size_divisible)
        padding = (0, padded_width - width, 0, padded_height - height)
        return ImageList(F.pad(batch, padding), [(height, width)] * len(batch))
    return _pad_together(tensors, size_divisible)


def _pad_together(images: Sequence[Tensor], size_divisible: int) -> ImageList:
    if not isinstance(images, Sequence):
        raise TypeError(f"expected a tensor or a sequence of tensors, not {type(images).__name__}")
    if not images:
        raise ValueError("no image: a batch needs at least one")
    shapes = [tuple(image.shape) for image in images]
    if any(len(shape) != 3 or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(f"images must be (C, H, W) with one channel count, not {shapes}")
    sizes_hw = [(height, width) for _, height, width in shapes]
    padded_hw = _padded_hw(sizes_hw, size_divisible)
    batch = images[0].new_zeros((len(images), shapes[0][0], *padded_hw))
    for plane, image in zip(batch, images, strict=True):
        plane[:, : image.shape[1], : image.shape[2]].copy_(image)
    return ImageList(batch, sizes_hw)


def _padded_hw(sizes_hw: Sequence[tuple[int, int]], size_divisible: int) -> tuple[int, int]:
    step = max(size_divisible, 1)
    height = max(height for height, _ in sizes_hw)
    width = max(width for _, width in sizes_hw)
    return -(-height // step) * step, -(-width // step) * step
