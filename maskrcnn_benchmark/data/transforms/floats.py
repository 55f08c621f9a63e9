"""Changes of images kept as floats, (H, W, 3) float32 RGB on 0..255, and of their targets."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskrcnn_benchmark.data.transforms.transforms import ImageAndTarget
from maskrcnn_benchmark.structures.bounding_box import BoxList, InstanceField
from maskrcnn_benchmark.structures.image_list import PixelNormalizer
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

FloatImage: TypeAlias = NDArray[np.float32]

_MAX_8_BIT: Final = 255


class ToFloats:
    """A PIL image as floats.

    Args:
        with_bitmaps: masks of the target become bitmaps, rasterised at the photo's size.
    """

    def __init__(self, *, with_bitmaps: bool) -> None:
        self.with_bitmaps = with_bitmaps

    def __call__(
        self, image: Image.Image, target: BoxList | None = None
    ) -> tuple[FloatImage, BoxList | None]:
        """The (image, target)."""
        floats = np.array(image.convert("RGB"), dtype=np.float32)
        if self.with_bitmaps and target is not None and target.has_field("masks"):
            target = target.with_field("masks", target.get_field("masks").convert("mask"))
        return floats, target

    def __repr__(self) -> str:
        return f"{type(self).__name__}(with_bitmaps={self.with_bitmaps})"


class ToImage:
    """Floats as a PIL image, rounded to 8 bits; the target is passed on."""

    def __call__(self, image: FloatImage, target: BoxList | None = None) -> ImageAndTarget:
        """The (image, target)."""
        pixels = np.rint(image).clip(0, _MAX_8_BIT).astype(np.uint8)
        return Image.fromarray(pixels), target

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToNormalized:
    """Floats as the model's input, a (3, H, W) tensor; the target is passed on.

    Args:
        normalizer: what the model wants done with pixels.
    """

    def __init__(self, normalizer: PixelNormalizer) -> None:
        self.normalizer = normalizer

    def __call__(
        self, image: FloatImage, target: BoxList | None = None
    ) -> tuple[Tensor, BoxList | None]:
        """The (image, target)."""
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        pixels = pixels.flip(0) if self.normalizer.to_bgr255 else pixels / _MAX_8_BIT
        mean, std = (
            torch.tensor(values)[:, None, None]
            for values in (self.normalizer.mean, self.normalizer.std)
        )
        return (pixels - mean) / std, target

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.normalizer})"


def resize_edges(
    target: BoxList, size: tuple[int, int], resize_bitmap: Callable[[Any], Any]
) -> BoxList:
    """The target in the image resized to ``size`` (w, h), with edges in their places.

    ``BoxList.resize`` scales inclusive corners, which leaves right and lower edges up to a pixel
    (of the smaller image) off. Boxes without extent are left out.

    Args:
        target: boxes, with any fields.
        size: px.
        resize_bitmap: (H, W) uint8 of 0 and 1 -> the same, resized.
    """
    scale = target.bbox.new_tensor([new / old for new, old in zip(size, target.size, strict=True)])
    edges = target.with_pixel_offset(0).convert("xyxy").bbox * scale.repeat(2)
    resized = BoxList(edges, size, pixel_offset=0).with_pixel_offset(target.pixel_offset)
    for name in target.fields():
        data = target.get_field(name)
        if isinstance(data, SegmentationMask) and data.mode == "mask":
            data = _resize_bitmaps(data, size, resize_bitmap)
        elif isinstance(data, InstanceField):
            data = data.resize(size)
        resized.add_field(name, data)
    return resized[(edges[:, 2:] > edges[:, :2]).all(dim=1)]


def _resize_bitmaps(
    masks: SegmentationMask, size: tuple[int, int], resize_bitmap: Callable[[Any], Any]
) -> SegmentationMask:
    resized = torch.zeros((len(masks), size[1], size[0]), dtype=torch.bool)
    for one, mask in zip(resized, masks.to_bitmasks(), strict=True):
        one.copy_(torch.from_numpy(resize_bitmap(mask.numpy().view(np.uint8))))
    return SegmentationMask(resized, size, mode="mask")


def resize_bilinear(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The image of ``size`` (w, h) by OpenCV, which reads four pixels for each and averages none.

    Of integers the result is rounded.
    """
    resized: NDArray[Any] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return resized
