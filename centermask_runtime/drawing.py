"""Detections drawn on a photo with Pillow: masks with outlines, boxes and names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from centermask_runtime import style
from centermask_runtime.detections import BoolArray, Detections
from centermask_runtime.fonts import OWN_FONT, font_file_for
from centermask_runtime.labels import Chip, Rectangle, draw_chips
from centermask_runtime.masks import PastedMask
from centermask_runtime.palette import Colour, class_colour


def draw_detections(photo: Image.Image, found: Detections, font: str | None = None) -> Image.Image:
    """A copy of the RGB photo with what was found drawn on it.

    Args:
        photo: RGB, of the size of what was found on it.
        found: what to draw.
        font: a font file for names; others are tried where it lacks characters. A name that no
            font has is shown as the number of its class, with a warning.

    Raises:
        ConfigError: ``font`` is no font.
    """
    scale = style.canvas_scale(photo.size)
    canvas_wh = (photo.width * scale, photo.height * scale)
    scaled = found.resize(canvas_wh)
    unit = min(canvas_wh)
    canvas = np.array(photo.resize(canvas_wh, Image.Resampling.NEAREST))
    colours = [class_colour(label) for label in found.labels.tolist()]
    outline = round(style.length(style.OUTLINE, unit, scale))
    _paint_masks(canvas, list(scaled.parts()), colours, outline)
    painted = Image.fromarray(canvas)
    pen = ImageDraw.Draw(painted)
    chips = _chips(scaled, colours, font)
    width = max(1, round(style.length(style.BOX_LINE, unit, scale)))
    for chip in reversed(chips):
        pen.rectangle(tuple(chip.box), outline=chip.colour, width=width)
    _draw_skeletons(pen, scaled, colours, width)
    draw_chips(pen, chips, style.length(style.FONT, unit, scale), canvas_wh)
    return painted.reduce(scale) if scale > 1 else painted


def _draw_skeletons(
    pen: ImageDraw.ImageDraw, found: Detections, colours: Sequence[Colour], width: int
) -> None:
    if found.keypoints is None or found.keypoint_scores is None:
        return
    is_person = found.keypoints.shape[1] == style.NUM_PERSON_POINTS
    connections = style.PERSON_CONNECTIONS if is_person else ()
    shown = found.keypoint_scores > style.MIN_KEYPOINT_LOGIT
    entries = zip(found.pixel_keypoints().tolist(), shown.tolist(), colours, strict=True)
    for points, is_shown, colour in entries:
        draw_skeleton(pen, points, is_shown, connections, colour, width)


def draw_skeleton(
    pen: ImageDraw.ImageDraw,
    points: Sequence[tuple[float, float]],
    shown: Sequence[bool],
    connections: Sequence[tuple[int, int]],
    colour: Colour,
    width: int,
) -> None:
    """Draw dots on the points that are shown, px, and lines of a ``width`` between them."""
    radius = style.DOT_RADIUS * width
    for first, second in connections:
        if shown[first] and shown[second]:
            pen.line([*points[first], *points[second]], fill=colour, width=width)
    for (x, y), is_shown in zip(points, shown, strict=True):
        if is_shown:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _paint_masks(
    canvas: NDArray[np.uint8],
    parts: Sequence[PastedMask | None],
    colours: Sequence[Colour],
    outline_width: int,
) -> None:
    """Paint on ``canvas``, large masks first, so that small ones in front of them stay visible."""
    present = [
        (part, colour) for part, colour in zip(parts, colours, strict=True) if part is not None
    ]
    present.sort(key=lambda item: -int(item[0].mask.sum()))
    for (x0, y0, mask), colour in present:
        # Room for the outline around the part.
        room = outline_width
        inside = np.pad(mask.astype(np.bool_), room)
        line = _outline(inside, outline_width)
        top, left = max(y0 - room, 0), max(x0 - room, 0)
        bottom, right = y0 + mask.shape[0] + room, x0 + mask.shape[1] + room
        region = canvas[top:bottom, left:right]
        rows = slice(top - y0 + room, top - y0 + room + region.shape[0])
        columns = slice(left - x0 + room, left - x0 + room + region.shape[1])
        inside, line = inside[rows, columns], line[rows, columns]
        table = style.tint(colour)[0]
        for channel in range(3):
            plane = region[..., channel]
            plane[inside] = table[plane[inside], channel]
        region[line] = colour


def _outline(inside: BoolArray, width: int) -> BoolArray:
    """Where a line of that width lies along the border of a mask, half of it outside."""
    outer = width // 2
    outline: BoolArray = _grown(inside, outer) & _grown(~inside, width - outer)
    return outline


def _grown(mask: BoolArray, pixels: int) -> BoolArray:
    """The mask with all that is at most so many pixels away, along rows and along columns."""
    grown = mask.copy()
    for shift in range(1, pixels + 1):
        grown[shift:] |= mask[:-shift]
        grown[:-shift] |= mask[shift:]
    tall = grown.copy()
    for shift in range(1, pixels + 1):
        grown[:, shift:] |= tall[:, :-shift]
        grown[:, :-shift] |= tall[:, shift:]
    return grown


def _chips(found: Detections, colours: Sequence[Colour], font: str | None) -> list[Chip]:
    chips = []
    entries = zip(found.names, found.scores.tolist(), found.pixel_boxes().tolist(), strict=True)
    for k, (name, score, (x1, y1, x2, y2)) in enumerate(entries):
        font_file = font_file_for(name, font)
        if font_file is None:
            name, font_file = str(found.labels[k]), OWN_FONT
        box = Rectangle(x1, y1, max(x1, x2), max(y1, y2))
        chips.append(Chip(f"{name} {score:.2f}", colours[k], box, font_file))
    return chips
