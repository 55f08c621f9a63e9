"""Fonts for names: what Pillow can open, and which of them has the characters of a text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from centermask_runtime.errors import ConfigError
from centermask_runtime.palette import Colour

logger = logging.getLogger(__name__)

OWN_FONT: Final = ""
"""Stands for the file of the font in Pillow, which has ASCII and little more."""

_PROBE_SIZE: Final = 16
_ABSENT: Final = "\U0010fffe"
"""No character, by definition: a font shows for it what it shows for any that it lacks."""
_USUAL_FILES: Final = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
    "arial.ttf",
)
"""Found by Pillow where the system keeps its fonts."""


class Font(Protocol):
    """A font of some size, as Pillow has them."""

    def getbbox(self, text: str) -> tuple[float, float, float, float]:
        """Left, upper, right and lower end of the text written at (0, 0), px."""
        ...

    def getmask(self, text: str) -> Any:  # noqa: ANN401 - Pillow's core image, or an array
        """Opacity of the text."""
        ...


OpenFont: TypeAlias = Callable[[float, str], Font]
"""Gives the font in a file, by its height in px."""


@lru_cache(maxsize=256)
def load_font(size: float, file: str = OWN_FONT) -> Font:
    """The font in a file, ``size`` px high.

    Raises:
        ConfigError: the file is no font.
    """
    if file == OWN_FONT:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(file, size)
    except OSError as error:
        raise ConfigError(f"cannot read the font {file}: {error}") from error


def write_text(
    pen: ImageDraw.ImageDraw,
    origin: tuple[float, float],
    text: str,
    colour: Colour | str,
    font: Font,
) -> None:
    """Write a line whose upper left corner is at ``origin``, px."""
    if isinstance(font, ImageFont.FreeTypeFont | ImageFont.ImageFont):
        pen.text(origin, text, fill=colour, font=font)
    else:
        mask = Image.fromarray(font.getmask(text))
        pen.bitmap((round(origin[0]), round(origin[1])), mask, fill=colour)


def find_font_file(
    text: str, named: str | None, others: Callable[[], Iterable[str]], open_font: OpenFont
) -> str | None:
    """The file of a font that has all characters of ``text``; None, and a warning, if none has.

    Args:
        text: one line.
        named: a font file that is tried first.
        others: gives those that are tried last, of which some may be absent or no fonts.
        open_font: opens them.

    Raises:
        ConfigError: the named file is no font.
    """
    if named is not None:
        open_font(_PROBE_SIZE, named)
    characters = {one for one in text if not one.isspace()}
    last = () if text.isascii() else others()
    for file in chain([OWN_FONT] if named is None else [named, OWN_FONT], last):
        try:
            font = open_font(_PROBE_SIZE, file)
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


@lru_cache(maxsize=4096)
def font_file_for(text: str, named: str | None = None) -> str | None:
    """As ``find_font_file``, of the fonts that systems mostly have."""
    return find_font_file(text, named, lambda: _USUAL_FILES, load_font)


def _has(font: Font, characters: Iterable[str]) -> bool:
    """Whether the font shows each character otherwise than one that does not exist."""
    missing = bytes(font.getmask(_ABSENT))
    return all(bytes(font.getmask(one)) != missing for one in characters)
