"""Fonts that have the characters of a name: those of Pillow, matplotlib, the system, OpenCV."""

import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.visualization.palette import Colour

logger = logging.getLogger(__name__)

OWN_FONT: Final = ""
"""Stands for the file of the font in Pillow, which has ASCII and little more."""

OPENCV_FONT: Final = "OpenCV's own font"
"""Stands for the font in OpenCV 5, which has Chinese, Japanese and Korean; OpenCV 4 has none."""

_PROBE_SIZE: Final = 16
_ABSENT: Final = "\U0010fffe"
"""No character, by definition: a font shows for it what it shows for any that it lacks."""

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


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont | OpenCVFont


def write_text(
    pen: ImageDraw.ImageDraw,
    origin: tuple[float, float],
    text: str,
    colour: Colour | str,
    font: Font,
) -> None:
    """Write a line whose upper left corner is at ``origin``, px."""
    if isinstance(font, OpenCVFont):
        mask = Image.fromarray(font.getmask(text))
        pen.bitmap((round(origin[0]), round(origin[1])), mask, fill=colour)
    else:
        pen.text(origin, text, fill=colour, font=font)


@lru_cache(maxsize=256)
def load_font(size: float, file: str = OWN_FONT) -> Font:
    """The font in a file, ``size`` px high.

    Raises:
        ConfigError: the file is no font.
    """
    if file == OWN_FONT:
        return ImageFont.load_default(size)
    if file == OPENCV_FONT:
        return OpenCVFont(size)
    try:
        return ImageFont.truetype(file, size)
    except OSError as error:
        raise ConfigError(f"cannot read the font {file}: {error}") from error


@lru_cache(maxsize=4096)
def font_file_for(text: str, named: str | None = None) -> str | None:
    """The file of a font that has all characters of ``text``; None, and a warning, if none has.

    Args:
        text: one line.
        named: a font file that is tried first.

    Raises:
        ConfigError: the named file is no font.
    """
    characters = {one for one in text if not one.isspace()}
    if named is not None and _has(load_font(_PROBE_SIZE, named), characters):
        return named
    for file in _candidates(characters):
        try:
            font = load_font(_PROBE_SIZE, file)
        except ConfigError:
            continue
        if _has(font, characters):
            return file
    logger.warning(
        "no font here has the characters of %r; name one that has them (--font FILE), or install "
        "one (Noto Sans CJK has most)",
        text,
    )
    return None


def _candidates(characters: set[str]) -> Iterator[str]:
    yield OWN_FONT
    if not all(one.isascii() for one in characters):
        yield from _installed_fonts()
        if hasattr(cv2, "FontFace"):
            yield OPENCV_FONT


def _has(font: Font, characters: set[str]) -> bool:
    """Whether the font shows each character otherwise than one that does not exist."""
    missing = bytes(font.getmask(_ABSENT))
    return all(bytes(font.getmask(one)) != missing for one in characters)


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
