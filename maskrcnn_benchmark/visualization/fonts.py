"""Fonts that have the characters of a name: those of Pillow, matplotlib, the system, OpenCV."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from centermask_runtime import fonts
from centermask_runtime.fonts import OWN_FONT, Font, find_font_file

OPENCV_FONT: Final = "OpenCV's own font"
"""Stands for the font in OpenCV 5, which has Chinese, Japanese and Korean; OpenCV 4 has none."""

# Parts of file names, best first: sans-serif fonts with many Asian characters, then with others.
_PREFERRED: Final = (
    "notosanscjk",
    "sourcehansans",
    "pingfang",
    "hiragino",
    "msyh",
    "yugoth",
    "malgun",
    "wqy",
    "droidsansfallback",
    "notosans",
    "arialunicode",
    "dejavusans",
    "arial",
)
_LESS_READABLE: Final = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "serif")


class OpenCVFont:
    """The font in OpenCV 5, with the methods of Pillow's that are used here.

    Args:
        size: height in px.
    """

    _FAR: Final = 4096

    def __init__(self, size: float) -> None:
        self._size = max(1, round(size))
        self._face = cv2.FontFace("uni")

    def getbbox(self, text: str) -> tuple[float, float, float, float]:
        """Left, upper, right and lower end of the text written at (0, 0), px."""
        x, y, width, height = cv2.getTextSize(
            (self._FAR, self._FAR), text, (0, self._FAR), self._face, self._size
        )
        top = y - self._FAR + self._size
        return x, top, x + width, top + height

    def getmask(self, text: str) -> npt.NDArray[Any]:
        """(h, w) uint8 opacity of the text, from (0, 0) on."""
        _, _, right, bottom = self.getbbox(text)
        mask = np.zeros((int(bottom) + 1, int(right) + 1), dtype=np.uint8)
        cv2.putText(mask, text, (0, self._size), (255,), self._face, self._size)
        return mask


@lru_cache(maxsize=256)
def load_font(size: float, file: str = OWN_FONT) -> Font:
    """The font in a file, or OpenCV's, ``size`` px high.

    Raises:
        ConfigError: the file is no font.
    """
    return OpenCVFont(size) if file == OPENCV_FONT else fonts.load_font(size, file)


@lru_cache(maxsize=4096)
def font_file_for(text: str, named: str | None = None) -> str | None:
    """As ``find_font_file``, of all fonts that are installed."""
    return find_font_file(text, named, _others, load_font)


def _others() -> Iterator[str]:
    yield from _installed_fonts()
    if hasattr(cv2, "FontFace"):
        yield OPENCV_FONT


@lru_cache(maxsize=1)
def _installed_fonts() -> tuple[str, ...]:
    """Font files: the one that matplotlib brings, which has European scripts, then the system's."""
    # Takes a moment, and names in ASCII do not need it.
    import matplotlib
    from matplotlib.font_manager import findSystemFonts

    own = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return (str(own), *sorted(findSystemFonts(), key=_preference))


def _preference(file: str) -> tuple[int, int, str]:
    name = Path(file).name.lower().replace("-", "").replace(" ", "")
    ranks = [rank for rank, part in enumerate(_PREFERRED) if part in name]
    return min(ranks, default=len(_PREFERRED)), sum(part in name for part in _LESS_READABLE), file
