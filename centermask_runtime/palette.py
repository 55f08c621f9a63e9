"""Colours of classes, the same in every picture."""

import colorsys
from typing import NamedTuple


class Colour(NamedTuple):
    """Red, green and blue, 0 to 255."""

    red: int
    green: int
    blue: int


# Chosen by eye: vivid on photos, and no two of them alike.
PALETTE = (
    Colour(255, 99, 72),
    Colour(46, 134, 255),
    Colour(255, 200, 40),
    Colour(155, 89, 255),
    Colour(32, 201, 151),
    Colour(255, 84, 167),
    Colour(150, 220, 45),
    Colour(0, 190, 235),
    Colour(255, 146, 30),
    Colour(214, 120, 255),
    Colour(20, 170, 80),
    Colour(235, 50, 60),
)
# Further classes take hues that lie as far apart as they can, whatever their number: each is the
# golden section of the circle further on. Saturation and value alternate between those of two rows.
_GOLDEN_SECTION = 0.6180339887
_FURTHER = ((0.85, 0.95), (0.6, 0.75), (0.95, 0.7))
# Weights of linear RGB in relative luminance (Rec. 709).
_LUMINANCE = (0.2126, 0.7152, 0.0722)
# Above this relative luminance dark text is easier to read than white. The WCAG 2 formula puts
# it at 0.179, but on saturated colours people read white better than the formula says.
_DARK_TEXT_ABOVE = 0.35
_GAMMA = 2.2
_DARK = Colour(17, 17, 17)
_WHITE = Colour(255, 255, 255)


def class_colour(label: int) -> Colour:
    """The colour of a class, from its label alone."""
    if label <= len(PALETTE):
        return PALETTE[label % len(PALETTE)]
    saturation, value = _FURTHER[label % len(_FURTHER)]
    rgb = colorsys.hsv_to_rgb(label * _GOLDEN_SECTION % 1.0, saturation, value)
    return Colour(*(round(255 * channel) for channel in rgb))


def text_colour(background: Colour) -> Colour:
    """Nearly black or white, whichever is easier to read on ``background``."""
    luminance = sum(
        weight * (channel / 255) ** _GAMMA
        for weight, channel in zip(_LUMINANCE, background, strict=True)
    )
    return _DARK if luminance > _DARK_TEXT_ABOVE else _WHITE
