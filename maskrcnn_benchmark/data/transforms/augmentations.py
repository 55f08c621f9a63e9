"""Random changes of training photos by the names of INPUT.AUGMENTATIONS_TRAIN, as SSD has them.

All take images of floats (``data.transforms.floats``) and bitmaps of objects.
Source: SSD (Liu et al., arXiv 1512.02325), section 3.6, in the form in which YOLACT uses it.
"""

import random
from collections.abc import Callable
from typing import Final, TypeAlias

import cv2
import numpy as np
import torch

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.registry import Registry
from maskrcnn_benchmark.data.transforms.floats import FloatImage
from maskrcnn_benchmark.data.transforms.transforms import ImageAndTarget, RandomTransform
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

AUGMENTATIONS: Final = Registry[Callable[[CfgNode], RandomTransform]](
    "augmentation (INPUT.AUGMENTATIONS_TRAIN)"
)
"""Builders (cfg) -> transform."""

Source: TypeAlias = "random.Random | None"

_HUE: Final = 0
_SATURATION: Final = 1
_DEGREES: Final = 360.0


def _is_drawn(rng: random.Random) -> bool:
    return rng.random() < 0.5


def _generator(rng: Source) -> random.Random:
    """The generator to draw from; a new one that Python's global one has seeded, without any."""
    return rng or random.Random(random.getrandbits(64))


class PhotometricDistortion(RandomTransform):
    """Brightness, contrast, saturation and hue, each with probability 1/2; nothing is clipped.

    Args:
        brightness: is added, between -brightness and brightness, on 0..255.
        factors: contrast and saturation are multiplied by a number between these.
        hue: is added, between -hue and hue, in degrees.
    """

    def __init__(
        self,
        brightness: float = 32.0,
        factors: tuple[float, float] = (0.5, 1.5),
        hue: float = 18.0,
    ) -> None:
        self.brightness = brightness
        self.factors = factors
        self.hue = hue

    def __call__(
        self, image: FloatImage, target: BoxList | None = None, rng: Source = None
    ) -> ImageAndTarget:
        """The changed (image, target); arguments as in ``RandomTransform``."""
        rng = _generator(rng)
        if _is_drawn(rng):
            image = image + np.float32(rng.uniform(-self.brightness, self.brightness))
        contrast_first = _is_drawn(rng)
        if contrast_first:
            image = self._contrast(image, rng)
        image = self._hue_and_saturation(image, rng)
        if not contrast_first:
            image = self._contrast(image, rng)
        return image, target

    def _contrast(self, image: FloatImage, rng: random.Random) -> FloatImage:
        if _is_drawn(rng):
            image = image * np.float32(rng.uniform(*self.factors))
        return image

    def _hue_and_saturation(self, image: FloatImage, rng: random.Random) -> FloatImage:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        if _is_drawn(rng):
            hsv[..., _SATURATION] *= rng.uniform(*self.factors)
        if _is_drawn(rng):
            turned = hsv[..., _HUE] + np.float32(rng.uniform(-self.hue, self.hue))
            turned[turned > _DEGREES] -= _DEGREES
            turned[turned < 0] += _DEGREES
            hsv[..., _HUE] = turned
        changed: FloatImage = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        return changed

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RandomExpansion(RandomTransform):
    """The photo at a random place of a larger canvas of one colour, with probability 1/2.

    Args:
        colour: R, G, B on 0..255.
        max_ratio: sides of the canvas are 1 to so many times those of the photo.
    """

    def __init__(self, colour: tuple[float, float, float], max_ratio: float = 4.0) -> None:
        self.colour = colour
        self.max_ratio = max_ratio

    def __call__(
        self, image: FloatImage, target: BoxList | None = None, rng: Source = None
    ) -> ImageAndTarget:
        """The changed (image, target); arguments as in ``RandomTransform``."""
        rng = _generator(rng)
        if not _is_drawn(rng):
            return image, target
        height, width = image.shape[:2]
        ratio = rng.uniform(1, self.max_ratio)
        left = int(rng.uniform(0, width * ratio - width))
        top = int(rng.uniform(0, height * ratio - height))
        full_wh = (int(width * ratio), int(height * ratio))
        canvas = np.empty((full_wh[1], full_wh[0], 3), dtype=np.float32)
        canvas[:] = self.colour
        canvas[top : top + height, left : left + width] = image
        if target is not None:
            edges = (-left, -top, full_wh[0] - left, full_wh[1] - top)
            target = _cut(target, edges)
        return canvas, target

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_ratio={self.max_ratio})"


class RandomCrop(RandomTransform):
    """A random part of the photo with the objects whose centre lies in it; in one of six cases all.

    A part has 0.3 to 1 of each side, and an aspect ratio of 1/2 to 2. At least one object that is
    no crowd stays.

    Args:
        num_tries: before another case is drawn.
    """

    # UPSTREAM(unchecked-crop): five cases ask for a least IoU of the part with the objects, which
    # there never rejects one; with the condition mended, YOLACT's AP halves.
    _NUM_CASES = 6

    def __init__(self, num_tries: int = 50) -> None:
        self.num_tries = num_tries

    def __call__(
        self, image: FloatImage, target: BoxList | None = None, rng: Source = None
    ) -> ImageAndTarget:
        """The changed (image, target); arguments as in ``RandomTransform``."""
        rng = _generator(rng)
        has_objects = target is None or bool((_labels(target) > 0).any())
        while has_objects and rng.randrange(self._NUM_CASES) > 0:
            for _ in range(self.num_tries):
                part = _draw_part(image.shape[1], image.shape[0], rng)
                if part is None:
                    continue
                found = None if target is None else _cut(_centred_in(target, part), part)
                if found is not None and not (_labels(found) > 0).any():
                    continue
                left, top, right, bottom = part
                return np.ascontiguousarray(image[top:bottom, left:right]), found
        return image, target

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_tries={self.num_tries})"


def _draw_part(width: int, height: int, rng: random.Random) -> tuple[int, int, int, int] | None:
    """Edges x1, y1, x2, y2 in px; None where the aspect ratio does not fit or nothing is left."""
    w, h = rng.uniform(0.3 * width, width), rng.uniform(0.3 * height, height)
    if not 0.5 <= h / w <= 2:
        return None
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    x1, y1, x2, y2 = int(left), int(top), int(left + w), int(top + h)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def _labels(target: BoxList) -> torch.Tensor:
    return target.labels if target.has_field("labels") else torch.ones(len(target))


def _centred_in(target: BoxList, part: tuple[int, int, int, int]) -> BoxList:
    edges = target.with_pixel_offset(0).convert("xyxy").bbox
    centers = (edges[:, :2] + edges[:, 2:]) / 2
    first, last = centers.new_tensor(part[:2]), centers.new_tensor(part[2:])
    return target[((centers > first) & (centers < last)).all(dim=1)]


def _cut(target: BoxList, edges: tuple[int, int, int, int]) -> BoxList:
    """The target in the part between these edges, which may lie outside; boxes are cut off."""
    left, top, right, bottom = edges
    size = (right - left, bottom - top)
    boxes = target.with_pixel_offset(0).convert("xyxy").bbox
    moved = (boxes - boxes.new_tensor([left, top] * 2)).clamp(min=0)
    cut = BoxList(torch.minimum(moved, moved.new_tensor(size * 2)), size, pixel_offset=0)
    result = cut.with_pixel_offset(target.pixel_offset)
    for name in target.fields():
        data = target.get_field(name)
        if isinstance(data, SegmentationMask) or hasattr(data, "crop"):
            data = data.crop(edges)
        result.add_field(name, data)
    return result


@AUGMENTATIONS.register("photometric")
def build_photometric_distortion(cfg: CfgNode) -> PhotometricDistortion:  # noqa: ARG001 - of every builder
    """Colours changed as by SSD."""
    return PhotometricDistortion()


@AUGMENTATIONS.register("expand")
def build_random_expansion(cfg: CfgNode) -> RandomExpansion:
    """The photo on a canvas of the mean colour."""
    mean = [float(value) for value in cfg.INPUT.PIXEL_MEAN]
    red, green, blue = mean[::-1] if cfg.INPUT.TO_BGR255 else (value * 255 for value in mean)
    return RandomExpansion((red, green, blue))


@AUGMENTATIONS.register("crop")
def build_random_crop(cfg: CfgNode) -> RandomCrop:  # noqa: ARG001 - of every builder
    """A part of the photo."""
    return RandomCrop()
