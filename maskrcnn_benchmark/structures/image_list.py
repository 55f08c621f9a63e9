"""A batch of images of different sizes in one padded tensor, as pixels or normalised.

Shapes: N images of C channels; H, W the common padded height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_8_BIT: Final = 255.0


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

    def pin_memory(self) -> ImageList:
        """The same batch in memory that a GPU can copy from by itself."""
        return ImageList(self.tensors.pin_memory(), self.image_sizes)


@dataclass(frozen=True, slots=True)
class PixelNormalizer:
    """What turns 8-bit pixels into a model's input.

    Attributes:
        mean: subtracted, one value a channel, in the scale and channel order after conversion.
        std: divides what is left, likewise; positive.
        to_bgr255: convert to BGR in [0, 255] first, which Caffe2's weights expect; otherwise to RGB
            in [0, 1].

    Raises:
        ValueError: not three values each, or a ``std`` that is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    to_bgr255: bool = True

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                "mean and std must be three values, std positive, not "
                f"{list(self.mean)} and {list(self.std)}"
            )

    def __call__(self, pixels: Tensor, image_sizes: Sequence[tuple[int, int]]) -> Tensor:
        """The normalised images, (N, 3, H, W) float32; 0 where padded.

        The numbers are, bit by bit, those of ``ToTensor`` and ``Normalize``.

        Args:
            pixels: (N, 3, H, W) uint8 RGB.
            image_sizes: true (height, width) of each image.
        """
        result = torch.empty(pixels.shape, device=pixels.device)
        # Divisors on the device: CUDA multiplies with the reciprocal of a number from elsewhere.
        whole, *stds = (
            torch.full((), value, device=pixels.device) for value in (_MAX_8_BIT, *self.std)
        )
        order = (2, 1, 0) if self.to_bgr255 else (0, 1, 2)
        for image, planes, (height, width) in zip(result, pixels, image_sizes, strict=True):
            image[:, height:] = 0
            image[:, :height, width:] = 0
            for channel, source in enumerate(order):
                plane = image[channel, :height, :width]
                plane.copy_(planes[source, :height, :width])
                # Of a whole number, / 255 * 255 is that number again, in float32 too.
                if not self.to_bgr255:
                    plane.div_(whole)
                plane.sub_(self.mean[channel])
                if self.std[channel] != 1:
                    plane.div_(stds[channel])
        return result


class PixelImageList(ImageList):
    """Images kept as 8-bit pixels, a quarter of the bytes, and normalised where they are used.

    ``to`` gives an ordinary ImageList, normalised after the pixels were moved.

    Args:
        pixels: (N, 3, H, W) uint8 RGB.
        image_sizes: true (height, width) of each image.
        normalizer: what makes a model's input of them.

    Raises:
        ValueError: the number of sizes differs from the number of images.
    """

    __slots__ = ("normalizer", "pixels")

    pixels: Tensor
    normalizer: PixelNormalizer

    def __init__(
        self,
        pixels: Tensor,
        image_sizes: Sequence[tuple[int, int]],
        normalizer: PixelNormalizer,
    ) -> None:
        if len(pixels) != len(image_sizes):
            raise ValueError(f"{len(pixels)} images, but {len(image_sizes)} image_sizes")
        # The class is frozen, as its base is.
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "image_sizes", image_sizes)
        object.__setattr__(self, "normalizer", normalizer)

    @property
    def tensors(self) -> Tensor:
        """(N, 3, H, W) float32 normalised images, computed anew each time they are asked for."""
        return self.normalizer(self.pixels, self.image_sizes)

    def to(self, *args: Any, **kwargs: Any) -> ImageList:
        """The normalised batch (float32, unless another dtype is asked for) after ``Tensor.to``."""
        asked = torch.empty(0, device=self.pixels.device).to(*args, **kwargs)
        pixels = self.pixels.to(asked.device, non_blocking=kwargs.get("non_blocking", False))
        images = self.normalizer(pixels, self.image_sizes)
        return ImageList(images.to(*args, **kwargs), self.image_sizes)

    def pin_memory(self) -> ImageList:
        """The same batch with its pixels in memory that a GPU can copy from by itself."""
        return PixelImageList(self.pixels.pin_memory(), self.image_sizes, self.normalizer)

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelImageList, (self.pixels, self.image_sizes, self.normalizer)


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
