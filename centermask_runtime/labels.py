"""Name chips that do not cover each other.

Coordinates are px of the canvas that is drawn on.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import ImageDraw

from centermask_runtime.fonts import OWN_FONT, Font, OpenFont, load_font, write_text
from centermask_runtime.palette import Colour, text_colour

# Horizontal and vertical space around the text, in parts of the font size.
_PADDING = (0.38, 0.2)
_CORNER_RADIUS = 0.28
# Rows of places that are tried inside a box when those around it are taken.
_MAX_ROWS = 8
# Names of small objects are written smaller: text height in parts of the box's mean side, and
# the smallest part of the usual size.
_TEXT_PER_SIDE = 0.2
_MIN_TEXT_PART = 0.7


class Rectangle(NamedTuple):
    """Left, upper, right and lower end."""

    x1: float
    y1: float
    x2: float
    y2: float


class Chip(NamedTuple):
    """A name to be shown at a box, in the font of a file."""

    text: str
    colour: Colour
    box: Rectangle
    font_file: str = OWN_FONT


def text_size_wh(text: str, font: Font) -> tuple[float, float]:
    """Width of ``text`` and height of its line, in px."""
    left, _, right, _ = font.getbbox(text)
    top, bottom = _line(text, font)
    return right - left, bottom - top


def shortened(text: str, font: Font, max_width: float) -> str:
    """The text, or its beginning with three dots that is at most ``max_width`` px wide."""
    if text_size_wh(text, font)[0] <= max_width:
        return text
    while text and text_size_wh(text + "…", font)[0] > max_width:
        text = text[:-1]
    return text.rstrip() + "…"


def _line(text: str, font: Font) -> tuple[float, float]:
    """Upper and lower end of a line, the same for all European texts of a font."""
    parts = [font.getbbox("Ágy"), font.getbbox(text)]
    return min(part[1] for part in parts), max(part[3] for part in parts)


def draw_chips(
    canvas: ImageDraw.ImageDraw,
    chips: Sequence[Chip],
    font_size: float,
    canvas_wh: tuple[int, int],
    open_font: OpenFont = load_font,
) -> list[Rectangle]:
    """The rectangles of the chips drawn; earlier chips have priority, crowded ones are left out.

    Names of small boxes are written somewhat smaller than ``font_size`` px, those that are wider
    than the canvas are cut. ``open_font`` gives the fonts of the chips' files.
    """
    placed: list[Rectangle] = []
    for whole in chips:
        size = _size_for(whole.box, font_size)
        widest = max(canvas_wh[0] - 2 * _PADDING[0] * size, size)
        font = open_font(size, whole.font_file)
        chip = whole._replace(text=shortened(whole.text, font, widest))
        place = _best_place(chip, font, size, canvas_wh, placed)
        if place is not None:
            _draw_chip(canvas, chip, place, font, size)
            placed.append(place)
    return placed


def _size_for(box: Rectangle, font_size: float) -> float:
    side = math.sqrt(max(0.0, box.x2 - box.x1) * max(0.0, box.y2 - box.y1))
    return min(max(side * _TEXT_PER_SIDE, font_size * _MIN_TEXT_PART), font_size)


def _best_place(
    chip: Chip,
    font: Font,
    font_size: float,
    canvas_wh: tuple[int, int],
    placed: Sequence[Rectangle],
) -> Rectangle | None:
    """The first place at the box that no other chip covers."""
    width, height = text_size_wh(chip.text, font)
    width += 2 * _PADDING[0] * font_size
    height += 2 * _PADDING[1] * font_size
    for x, y in _corners(chip.box, width, height):
        place = _inside(x, y, width, height, canvas_wh)
        if not any(_intersection(place, other) for other in placed):
            return place
    return None


def _corners(box: Rectangle, width: float, height: float) -> Iterator[tuple[float, float]]:
    """Upper left corners of chips at a box, best first: at its corners, along its edges, inside."""
    left, right, middle = box.x1, box.x2 - width, (box.x1 + box.x2 - width) / 2
    above, below = box.y1 - height, box.y2
    for x in (left, right):
        yield from ((x, above), (x, box.y1))
    for x in (left, right):
        yield from ((x, below), (x, box.y2 - height))
    yield from ((middle, above), (middle, below))
    rows = min(int((box.y2 - box.y1) / height), _MAX_ROWS)
    for row in range(rows):
        yield from ((x, box.y1 + row * height) for x in (left, middle, right))


def _inside(x: float, y: float, width: float, height: float, wh: tuple[int, int]) -> Rectangle:
    x = max(0.0, min(x, wh[0] - width))
    y = max(0.0, min(y, wh[1] - height))
    return Rectangle(x, y, x + width, y + height)


def _intersection(first: Rectangle, second: Rectangle) -> float:
    width = min(first.x2, second.x2) - max(first.x1, second.x1)
    height = min(first.y2, second.y2) - max(first.y1, second.y1)
    return max(0.0, width) * max(0.0, height)


def _draw_chip(
    canvas: ImageDraw.ImageDraw, chip: Chip, place: Rectangle, font: Font, font_size: float
) -> None:
    canvas.rounded_rectangle(tuple(place), radius=_CORNER_RADIUS * font_size, fill=chip.colour)
    left, _, _, _ = font.getbbox(chip.text)
    top, _ = _line(chip.text, font)
    origin = (place.x1 + _PADDING[0] * font_size - left, place.y1 + _PADDING[1] * font_size - top)
    write_text(canvas, origin, chip.text, text_colour(chip.colour), font)
