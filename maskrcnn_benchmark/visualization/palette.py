"""Colours of instances, the same in every picture."""

from collections.abc import Sequence
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
# Both have no divisor in common with the size of the palette, so all of it is used before a
# colour comes back; instances of one class that stand together get colours far apart.
_CLASS_STEP = 1
_INSTANCE_STEP = 5
# Weights of linear RGB in relative luminance (Rec. 709).
_LUMINANCE = (0.2126, 0.7152, 0.0722)
# Above this relative luminance dark text is easier to read than white. The WCAG 2 formula puts
# it at 0.179, but on saturated colours people read white better than the formula says.
_DARK_TEXT_ABOVE = 0.35
_GAMMA = 2.2
_DARK = Colour(17, 17, 17)
_WHITE = Colour(255, 255, 255)


def instance_colour(label: int, ordinal: int) -> Colour:
    """The colour of instance number ``ordinal`` (from 0) of a class in a picture."""
    return PALETTE[(label * _CLASS_STEP + ordinal * _INSTANCE_STEP) % len(PALETTE)]


def instance_colours(labels: Sequence[int]) -> list[Colour]:
    """The colours of the instances of one picture, in their order."""
    seen: dict[int, int] = {}
    colours = []
    for label in labels:
        colours.append(instance_colour(label, seen.get(label, 0)))
        seen[label] = seen.get(label, 0) + 1
    return colours


def text_colour(background: Colour) -> Colour:
    """Nearly black or white, whichever is easier to read on ``background``."""
    luminance = sum(
        weight * (channel / 255) ** _GAMMA
        for weight, channel in zip(_LUMINANCE, background, strict=True)
    )
    return _DARK if luminance > _DARK_TEXT_ABOVE else _WHITE
