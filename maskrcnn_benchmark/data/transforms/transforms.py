"""Changes of an image together with its target.

Every transform is called as ``transform(image, target)`` and returns the pair. A
``RandomTransform`` also takes the generator to draw from, ``transform(image, target, rng)``;
without it, Python's global one is used.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeAlias

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
)
from maskrcnn_benchmark.structures.image_list import PixelNormalizer

ImageAndTarget: TypeAlias = "tuple[Any, BoxList | None]"
Transform: TypeAlias = Callable[..., tuple[Any, Any]]
SideRule: TypeAlias = Callable[[tuple[int, int], int, int], tuple[int, int]]
"""((width, height), px of the shorter side, most px of the longer one) -> (height, width)."""

_MAX_8_BIT: Final = 255
_STRIP_ROWS: Final = 256
_LARGE_PX: Final = 1 << 22

RESIZE_BACKENDS: Final = ("pil", "fast")
"""What ``Resize`` may compute with."""


class RandomTransform:
    """A transform that draws from a generator."""

    def __call__(
        self,
        image: Any,  # noqa: ANN401 - a PIL image or a tensor
        target: BoxList | None = None,
        rng: random.Random | None = None,
    ) -> ImageAndTarget:
        """The changed (image, target).

        Args:
            image: a PIL image.
            target: its boxes, or None where there are none to follow.
            rng: the generator to draw from; None takes Python's global one.
        """
        raise NotImplementedError


class Compose(RandomTransform):
    """Several transforms, one after the other.

    Args:
        transforms: callables ``(image, target) -> (image, target)``; those of class
            ``RandomTransform`` are also given the generator.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(
        self,
        image: Any,  # noqa: ANN401 - a PIL image or a tensor
        target: BoxList | None = None,
        rng: random.Random | None = None,
    ) -> ImageAndTarget:
        """The (image, target) after all transforms; arguments as in ``RandomTransform``."""
        for transform in self.transforms:
            if isinstance(transform, RandomTransform):
                image, target = transform(image, target, rng)
            else:
                image, target = transform(image, target)
        return image, target

    def __repr__(self) -> str:
        lines = "".join(f"    {transform}\n" for transform in self.transforms)
        return f"{type(self).__name__}(\n{lines})"


class Resize(RandomTransform):
    """Bilinear resize of the shorter side, the longer one bounded; the aspect ratio is kept.

    Args:
        min_size: length of the shorter side in px, or several of which each call draws one.
        max_size: px that the longer side should not exceed (by more than rounding).
        backend: "pil" gives the pixels of the original program; "fast" is several times faster,
            and may be off by one step of 255.
        sides: how the sides are rounded, ``resized_hw`` or ``resized_nearest_hw``.

    Raises:
        ValueError: no size, a size below 1, or another backend.
    """

    def __init__(
        self,
        min_size: int | Sequence[int],
        max_size: int,
        backend: str = "pil",
        *,
        sides: SideRule | None = None,
    ) -> None:
        if backend not in RESIZE_BACKENDS:
            raise ValueError(f"backend must be one of {RESIZE_BACKENDS}, not {backend!r}")
        sizes = (min_size,) if isinstance(min_size, int) else tuple(min_size)
        if not sizes or min(sizes) < 1 or max_size < 1:
            raise ValueError(
                f"min_size and max_size must be at least 1 px, not {min_size} and {max_size}"
            )
        self.min_size = sizes
        self.max_size = max_size
        self.backend = backend
        self.sides = sides or resized_hw

    def __call__(
        self,
        image: Image.Image,
        target: BoxList | None = None,
        rng: random.Random | None = None,
    ) -> ImageAndTarget:
        """The resized (image, target); arguments as in ``RandomTransform``."""
        min_size = (rng or random).choice(self.min_size)
        # A photo that was read at a fraction of its size becomes as large as the whole would.
        size_wh = image.size if target is None else target.size
        height, width = self.sides(size_wh, min_size, self.max_size)
        if self.backend == "pil":
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        else:
            image = _resized_fast(image, (width, height))
        return image, None if target is None else target.resize(image.size)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(min_size={self.min_size}, max_size={self.max_size}, "
            f"backend={self.backend!r})"
        )


_FLIPPED: Final[Mapping[Image.Transpose, Callable[..., Any]]] = MappingProxyType(
    {
        Image.Transpose.FLIP_LEFT_RIGHT: np.fliplr,
        Image.Transpose.FLIP_TOP_BOTTOM: np.flipud,
        Image.Transpose.TRANSPOSE: lambda image: image.swapaxes(0, 1),
    }
)
"""What the flips of Pillow's images are of arrays (H, W, 3)."""


class _RandomFlip(RandomTransform):
    """A flip of image and target with a probability.

    Args:
        prob: probability of the flip, in [0, 1].

    Raises:
        ValueError: ``prob`` is outside [0, 1].
    """

    image_method: ClassVar[Image.Transpose]
    target_method: ClassVar[int]

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], not {prob}")
        self.prob = prob

    def __call__(
        self,
        image: Any,  # noqa: ANN401 - a PIL image, or an array (H, W, 3)
        target: BoxList | None = None,
        rng: random.Random | None = None,
    ) -> ImageAndTarget:
        """The (image, target), flipped or not; arguments as in ``RandomTransform``."""
        if (rng or random).random() >= self.prob:
            return image, target
        if isinstance(image, np.ndarray):
            image = np.ascontiguousarray(_FLIPPED[self.image_method](image))
        else:
            image = image.transpose(self.image_method)
        return image, None if target is None else target.transpose(self.target_method)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prob={self.prob})"


class RandomHorizontalFlip(_RandomFlip):
    """A left-right flip of image and target with a probability; arguments as in ``_RandomFlip``."""

    image_method = Image.Transpose.FLIP_LEFT_RIGHT
    target_method = FLIP_LEFT_RIGHT


class RandomVerticalFlip(_RandomFlip):
    """A top-bottom flip of image and target with a probability; arguments as in ``_RandomFlip``."""

    image_method = Image.Transpose.FLIP_TOP_BOTTOM
    target_method = FLIP_TOP_BOTTOM


class RandomDiagonalFlip(_RandomFlip):
    """A flip that exchanges x and y with a probability; arguments as in ``_RandomFlip``."""

    image_method = Image.Transpose.TRANSPOSE
    target_method = FLIP_DIAGONAL


class ToPixels:
    """A PIL image as a (3, H, W) uint8 tensor, RGB; the target is passed on.

    ``PixelNormalizer`` makes of it what ``ToTensor`` and ``Normalize`` make of the image.
    """

    def __call__(self, image: Image.Image, target: BoxList | None = None) -> ImageAndTarget:
        """The (image, target) with the image as a tensor."""
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        planes = torch.empty(3, *pixels.shape[:2], dtype=torch.uint8)
        cv2.split(pixels, list(planes.numpy()))
        return planes, target

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToTensor:
    """A PIL image as a (3, H, W) float tensor in [0, 1], RGB; the target is passed on."""

    def __call__(self, image: Image.Image, target: BoxList | None = None) -> ImageAndTarget:
        """The (image, target) with the image as a tensor."""
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        return pixels.contiguous().to(torch.float32).div(_MAX_8_BIT), target

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Normalize:
    """An RGB image tensor in [0, 1] with the mean subtracted and divided by the deviation.

    Args:
        mean: one value a channel, in the scale and channel order after conversion.
        std: likewise, positive.
        to_bgr255: convert to BGR in [0, 255] first, which Caffe2's weights expect.

    Raises:
        ValueError: not three values each, or a ``std`` that is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], to_bgr255: bool = True) -> None:
        checked = PixelNormalizer(tuple(mean), tuple(std), to_bgr255)
        self.mean, self.std, self.to_bgr255 = checked.mean, checked.std, checked.to_bgr255

    def __call__(self, image: Tensor, target: BoxList | None = None) -> ImageAndTarget:
        """The (image, target) with the image normalised.

        Args:
            image: (3, H, W) float RGB in [0, 1].
            target: passed on.
        """
        if self.to_bgr255:
            image = image.flip(0) * _MAX_8_BIT
        mean = torch.tensor(self.mean, dtype=image.dtype, device=image.device)
        std = torch.tensor(self.std, dtype=image.dtype, device=image.device)
        return (image - mean[:, None, None]) / std[:, None, None], target

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(mean={self.mean}, std={self.std}, to_bgr255={self.to_bgr255})"
        )


def _resized_fast(image: Image.Image, size_wh: tuple[int, int]) -> Image.Image:
    """The image resized like Pillow does, but in vector code."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    width, height = size_wh
    grows = width * height >= image.width * image.height
    if not grows and image.width * image.height > _LARGE_PX:
        # First along the rows, like Pillow: there is never a copy of all pixels.
        narrow = _strip_by_strip(image, width, lambda strip: _shrunk(strip, (len(strip), width)))
        return Image.fromarray(_shrunk(narrow, (height, width)))
    if grows:
        whole = np.asarray(image)
        return Image.fromarray(cv2.resize(whole, size_wh, interpolation=cv2.INTER_LINEAR))
    whole = _strip_by_strip(image, image.width, lambda strip: strip)
    return Image.fromarray(_shrunk(whole, (height, width)))


def _shrunk(pixels: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    # Where images shrink, OpenCV would skip pixels that Pillow averages.
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    smaller = F.interpolate(planes, size=size_hw, mode="bilinear", antialias=True)
    return smaller[0].permute(1, 2, 0).numpy()


def _strip_by_strip(
    image: Image.Image, width: int, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """(H, ``width``, 3) of an RGB image, some rows at a time: at once, Pillow makes two copies.

    Args:
        image: H rows.
        width: of the result.
        change: (h, W, 3) -> (h, ``width``, 3).
    """
    pixels = np.empty((image.height, width, 3), dtype=np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        pixels[top:bottom] = change(np.array(image.crop((0, top, image.width, bottom))))
    return pixels


def resized_hw(size_wh: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """The (height, width) of an image after ``Resize``.

    The shorter side becomes ``min_size``, unless the longer one would pass ``max_size``: then the
    shorter becomes ``round(max_size * shorter / longer)``. The longer side is truncated to whole
    pixels, so that it may pass ``max_size`` by a few pixels where the shorter was rounded up.

    Args:
        size_wh: (width, height) before.
        min_size: px of the shorter side.
        max_size: px that the longer side should not exceed.
    """
    width, height = size_wh
    shorter, longer = min(size_wh), max(size_wh)
    if longer / shorter * min_size > max_size:
        min_size = max(round(max_size * shorter / longer), 1)
    if shorter == min_size:
        return height, width
    if width < height:
        return int(min_size * height / width), min_size
    return min_size, int(min_size * width / height)


def resized_floor_hw(size_wh: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """As ``resized_hw``, but both sides are cut to whole px, and neither passes its bound.

    Source: behaviour of torchvision.
    """
    scale = min(min_size / min(size_wh), max_size / max(size_wh))
    width, height = (max(math.floor(side * scale), 1) for side in size_wh)
    return height, width


def resized_nearest_hw(size_wh: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """As ``resized_hw``, but both sides are rounded to the nearest px, and only in the end.

    The longer side never passes ``max_size``. Source: behaviour of detectron2.
    """
    width, height = size_wh
    scale = min_size / min(size_wh)
    new_height, new_width = scale * height, scale * width
    if max(new_height, new_width) > max_size:
        scale = max_size / max(new_height, new_width)
        new_height, new_width = scale * new_height, scale * new_width
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)
