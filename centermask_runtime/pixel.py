"""The inclusive pixel convention of the original program, in one place."""

from typing import Final

LEGACY_PIXEL_OFFSET: Final = 1
"""What a box adds to ``x2 - x1`` to get its width.

Boxes name their first and their last pixel: a box from x1 = 3 to x2 = 5 covers the pixels 3, 4 and
5, so its width is ``x2 - x1 + 1``. Modern code takes corners as edges (width ``x2 - x1``); the
trained weights and the thresholds of the original assume the inclusive reading, so it stays. Every
width, height and area of this project adds this constant by name, or the ``pixel_offset`` of the
boxes at hand, never a bare 1. Offset 0 is the other reading: see ``config.convention``.
"""
