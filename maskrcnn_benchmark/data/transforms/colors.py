"""Changes of a photo's colours; what is on it stays where it is."""

import random

import numpy as np
from PIL import Image, ImageEnhance

from maskrcnn_benchmark.data.transforms.transforms import ImageAndTarget, RandomTransform
from maskrcnn_benchmark.structures.bounding_box import BoxList

_HUES = 256
"""Steps of the colour circle in 8 bits."""


class RandomColors(RandomTransform):
    """Other light: brightness, contrast, saturation and hue are changed by chance, in this order.

    Args:
        brightness: the factor is drawn from [1 - brightness, 1 + brightness], from 0 at least.
        contrast: likewise; 0 is grey as the photo's mean.
        saturation: likewise; 0 is a grey photo.
        hue: the part of the colour circle that hues move by at most, in [0, 0.5].

    Raises:
        ValueError: a strength below 0, or a hue above 0.5.
    """

    def __init__(
        self,
        *,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
    ) -> None:
        if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
            raise ValueError(
                "expected brightness, contrast, saturation of at least 0, hue in [0, 0.5]; got "
                f"{brightness}, {contrast}, {saturation}, {hue}"
            )
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def __call__(
        self,
        image: Image.Image,
        target: BoxList | None = None,
        rng: random.Random | None = None,
    ) -> ImageAndTarget:
        """The (image, target), the image in other colours; arguments as in ``RandomTransform``."""
        draw = (rng or random).uniform
        image = image if image.mode == "RGB" else image.convert("RGB")
        for make, strength in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            if strength:
                image = make(image).enhance(draw(max(0.0, 1 - strength), 1 + strength))
        if self.hue:
            image = _with_turned_hue(image, draw(-self.hue, self.hue))
        return image, target

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue})"
        )


def _with_turned_hue(image: Image.Image, part: float) -> Image.Image:
    """The image with all hues moved by a part of the colour circle."""
    pixels = np.array(image.convert("HSV"))
    # 8-bit numbers start again after 255, as hues do.
    pixels[..., 0] += np.uint8(round(part * _HUES) % _HUES)
    return Image.fromarray(pixels, "HSV").convert("RGB")
