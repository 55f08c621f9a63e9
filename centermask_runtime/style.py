"""How instances look on photos, whatever draws them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from centermask_runtime.palette import Colour

FILL_OPACITY: Final = 0.42
"""Of a mask's colour."""
# Everything is drawn on a canvas this many times larger and averaged down, which smooths edges
# and leaves untouched pixels of the photo exactly as they were.
_SUPERSAMPLING: Final = 2
# Photos with more pixels are drawn at their own size: their edges look smooth anyway.
_MAX_SUPERSAMPLED_PIXELS: Final = 6_000_000
OUTLINE: Final = (1 / 340, 1.0, 6.0)
"""Width in parts of the photo's shorter side, and its limits in px; so below."""
BOX_LINE: Final = (1 / 480, 1.0, 4.0)
FONT: Final = (1 / 32, 10.0, 60.0)
DOT_RADIUS: Final = 1.5
"""Of a keypoint, in widths of a box's line."""
NUM_PERSON_POINTS: Final = 17
"""Of COCO."""
MIN_KEYPOINT_LOGIT: Final = 2.0
"""Keypoints of a lower score are not drawn. Source: Detectron's visualisation."""

PERSON_CONNECTIONS: Final[Sequence[tuple[int, int]]] = (
    *((1, 2), (1, 0), (2, 0), (2, 4), (1, 3)),  # head
    *((6, 8), (8, 10), (5, 7), (7, 9)),  # arms
    *((12, 14), (14, 16), (11, 13), (13, 15)),  # legs
    *((6, 5), (12, 11), (6, 12), (5, 11)),  # trunk
)
"""Pairs of COCO's 17 points of a person that a line between them makes a skeleton of."""


def canvas_scale(size_wh: tuple[int, int]) -> int:
    """How many times larger than the photo it is drawn at."""
    return _SUPERSAMPLING if size_wh[0] * size_wh[1] <= _MAX_SUPERSAMPLED_PIXELS else 1


def length(setting: tuple[float, float, float], unit: float, scale: int) -> float:
    """Px of the canvas of one of the settings, where the photo's shorter side has ``unit`` of them.

    Args:
        setting: part of the shorter side, smallest and largest px of the photo.
        unit: px of the canvas.
        scale: of the canvas.
    """
    part, smallest, largest = setting
    return min(max(part * unit, smallest * scale), largest * scale)


def tint(colour: Colour) -> NDArray[np.uint8]:
    """(1, 256, 3) what becomes of each value of each channel where the colour is laid on it."""
    values = np.arange(256)[:, None] * (1 - FILL_OPACITY) + np.array(colour) * FILL_OPACITY
    tinted: NDArray[np.uint8] = values.round().astype(np.uint8)[None]
    return tinted
