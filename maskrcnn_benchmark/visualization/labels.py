"""Name chips that do not cover each other.

Coordinates are px of the canvas that is drawn on.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import ImageDraw, ImageFont

from maskrcnn_benchmark.visualization.palette import Colour, text_colour

# Horizontal and vertical space around the text, in parts of the font size.
_PADDING = (0.38, 0.2)
_CORNER_RADIUS = 0.28
# A chip that would be hidden more than this is left out.
_MAX_HIDDEN = 0.1
# Names of small objects are written smaller: text height in parts of the box's mean side, and
# the smallest part of the usual size.
_TEXT_PER_SIDE = 0.2
_MIN_TEXT_PART = 0.7

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Rectangle(NamedTuple):
    """Left, upper, right and lower end."""

    x1: float
    y1: float
    x2: float
    y2: float


class Chip(NamedTuple):
    """A name to be shown at a box."""

    text: str
    colour: Colour
    box: Rectangle


def default_font(size: float) -> Font:
    """The font that comes with Pillow, ``size`` px high."""
    return ImageFont.load_default(size)


def text_size_wh(text: str, font: Font) -> tuple[float, float]:
    """Width of ``text`` and height of its line, in px."""
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("Ágy")
    return right - left, bottom - top


def draw_chips(
    canvas: ImageDraw.ImageDraw, chips: Sequence[Chip], font_size: float, canvas_wh: tuple[int, int]
) -> list[Rectangle]:
    """The rectangles of the chips drawn; earlier chips have priority, crowded ones are left out.

    Names of small boxes are written somewhat smaller than ``font_size`` px.
    """
    placed: list[Rectangle] = []
    for chip in chips:
        size = _size_for(chip.box, font_size)
        place = _best_place(chip, size, canvas_wh, placed)
        if place is not None:
            _draw_chip(canvas, chip, place, size)
            placed.append(place)
    return placed


def _size_for(box: Rectangle, font_size: float) -> float:
    side = math.sqrt(max(0.0, box.x2 - box.x1) * max(0.0, box.y2 - box.y1))
    return min(max(side * _TEXT_PER_SIDE, font_size * _MIN_TEXT_PART), font_size)


def _best_place(
    chip: Chip, font_size: float, canvas_wh: tuple[int, int], placed: Sequence[Rectangle]
) -> Rectangle | None:
    width, height = text_size_wh(chip.text, default_font(font_size))
    width += 2 * _PADDING[0] * font_size
    height += 2 * _PADDING[1] * font_size
    box = chip.box
    corners = [
        (box.x1, box.y1 - height),  # above, inside, below; left before right
        (box.x1, box.y1),
        (box.x2 - width, box.y1 - height),
        (box.x2 - width, box.y1),
        (box.x1, box.y2),
        (box.x1, box.y2 - height),
        (box.x2 - width, box.y2),
        (box.x2 - width, box.y2 - height),
    ]
    candidates = [_inside(x, y, width, height, canvas_wh) for x, y in corners]
    hidden = [
        sum(_intersection(candidate, other) for other in placed) / (width * height)
        for candidate in candidates
    ]
    best = min(range(len(candidates)), key=hidden.__getitem__)
    return candidates[best] if hidden[best] <= _MAX_HIDDEN else None


def _inside(x: float, y: float, width: float, height: float, wh: tuple[int, int]) -> Rectangle:
    x = max(0.0, min(x, wh[0] - width))
    y = max(0.0, min(y, wh[1] - height))
    return Rectangle(x, y, x + width, y + height)


def _intersection(first: Rectangle, second: Rectangle) -> float:
    width = min(first.x2, second.x2) - max(first.x1, second.x1)
    height = min(first.y2, second.y2) - max(first.y1, second.y1)
    return max(0.0, width) * max(0.0, height)


def _draw_chip(canvas: ImageDraw.ImageDraw, chip: Chip, place: Rectangle, font_size: float) -> None:
    font = default_font(font_size)
    canvas.rounded_rectangle(tuple(place), radius=_CORNER_RADIUS * font_size, fill=chip.colour)
    left, _, _, _ = font.getbbox(chip.text)
    _, top, _, _ = font.getbbox("Ágy")
    origin = (place.x1 + _PADDING[0] * font_size - left, place.y1 + _PADDING[1] * font_size - top)
    canvas.text(origin, chip.text, fill=text_colour(chip.colour), font=font)
