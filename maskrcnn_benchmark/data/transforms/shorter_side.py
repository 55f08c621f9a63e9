"""Photos whose shorter side gets a length, on floats, as torchvision's detectors want them."""

import random
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from maskrcnn_benchmark.data.transforms.floats import FloatImage, resize_bilinear, resize_edges
from maskrcnn_benchmark.data.transforms.transforms import (
    RandomTransform,
    SideRule,
    resized_floor_hw,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList


class ResizeFloats(RandomTransform):
    """Bilinear resize of an image of floats, its aspect ratio kept, the longer side bounded.

    Nothing is rounded or averaged, so that normalising before and after is the same. Source:
    behaviour of torchvision.

    Args:
        min_sizes: lengths of the shorter side in px, of which each call draws one.
        max_size: px that the longer side does not exceed.
        sides: how the sides are rounded.

    Raises:
        ValueError: no size, or one below 1.
    """

    def __init__(
        self, min_sizes: Sequence[int], max_size: int, sides: SideRule = resized_floor_hw
    ) -> None:
        if not min_sizes or min(min_sizes) < 1 or max_size < 1:
            raise ValueError(
                f"min_sizes and max_size must be at least 1 px, not {min_sizes} and {max_size}"
            )
        self.min_sizes = tuple(min_sizes)
        self.max_size = max_size
        self.sides = sides

    def __call__(
        self,
        image: FloatImage,
        target: BoxList | None = None,
        rng: random.Random | None = None,
    ) -> tuple[FloatImage, BoxList | None]:
        """The resized (image, target); arguments as in ``RandomTransform``."""
        min_size = (rng or random).choice(self.min_sizes)
        height, width = image.shape[:2]
        new_height, new_width = self.sides((width, height), min_size, self.max_size)
        size = (new_width, new_height)
        if target is not None:
            target = resize_edges(target, size, partial(resize_bilinear, size=size))
        return _resized(image, (new_height, new_width)), target

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_sizes={self.min_sizes}, max_size={self.max_size})"


def _resized(image: FloatImage, size_hw: tuple[int, int]) -> FloatImage:
    """As ``resize_bilinear`` with the bits of torch: OpenCV's are a thousandth of a step away."""
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    resized = F.interpolate(planes[None], size=size_hw, mode="bilinear", align_corners=False)
    result: FloatImage = resized[0].permute(1, 2, 0).numpy()
    return result
