"""Colours that tell instances and classes apart in drawings."""

import colorsys

import numpy as np
from numpy.typing import NDArray

# Turning the hue by the golden angle keeps any number of consecutive colours far apart.
_GOLDEN_TURN = 0.6180339887498949
_PALETTE_SIZE = 80


def _hue_wheel_color(index: int) -> tuple[float, float, float]:
    """Colour ``index`` of an endless palette as RGB in [0, 1]; brightness varies every 5th."""
    hue = (index * _GOLDEN_TURN) % 1.0
    value = (1.0, 0.85, 0.7)[(index // 5) % 3]
    return colorsys.hsv_to_rgb(hue, 0.85, value)


COLORS: tuple[tuple[int, int, int], ...] = tuple(
    (round(255 * red), round(255 * green), round(255 * blue))
    for red, green, blue in map(_hue_wheel_color, range(_PALETTE_SIZE))
)
"""The palette as RGB in 0..255: neighbours in the list look unlike each other."""


def colormap(rgb: bool = False, maximum: int = 255) -> NDArray[np.float32]:
    """The palette ``COLORS`` as (80, 3) float32 of 0..``maximum``, in OpenCV's BGR or in RGB.

    Raises:
        ValueError: ``maximum`` is neither 1 nor 255.
    """
    if maximum not in (1, 255):
        raise ValueError(f"colormap: maximum must be 1 or 255, got {maximum}")
    colors = np.asarray(COLORS, dtype=np.float32)
    if not rgb:
        colors = colors[:, ::-1]
    return np.ascontiguousarray(colors * np.float32(maximum / 255))


def random_colors(
    count: int, bright: bool = True, seed: int | None = None
) -> list[tuple[float, float, float]]:
    """``count`` visually distinct RGB colours in [0, 1], in random order, which ``seed`` fixes.

    Those that are not ``bright`` have 70 % of the brightness.
    """
    value = 1.0 if bright else 0.7
    order = np.random.default_rng(seed).permutation(count)
    return [colorsys.hsv_to_rgb(int(i) / count, 1.0, value) for i in order]
