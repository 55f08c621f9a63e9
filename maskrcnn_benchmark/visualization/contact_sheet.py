"""A sheet of photos, each with its predictions beside its ground truth."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from centermask_runtime.fonts import OWN_FONT, Font, write_text
from centermask_runtime.labels import shortened
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.visualization.draw import draw_instances
from maskrcnn_benchmark.visualization.fonts import font_file_for, load_font

# px
_PICTURE_WH = (470, 360)
_PAGE_MARGIN = 28
_CARD_GAP = 20
_CARD_PADDING = 12
_PICTURE_GAP = 10
_TITLE_SIZE = 30
_SUBTITLE_SIZE = 17
_CAPTION_SIZE = 15
_HEADING_SIZE = 13
_LINE_GAP = 8
_CARD_RADIUS = 10

_PAGE_COLOUR = "#eef0f3"
_CARD_COLOUR = "#ffffff"
_TEXT_COLOUR = "#16202c"
_MUTED_COLOUR = "#5b6775"


class SheetPhoto(NamedTuple):
    """One photo of a sheet.

    Attributes:
        image: the photo.
        detections: with ``labels``, ``scores`` and optionally ``mask``, px of any size of it.
        ground_truth: with ``labels`` and optionally ``masks``, px of any size of it.
        caption: a line below the pictures.
    """

    image: Image.Image
    detections: BoxList
    ground_truth: BoxList
    caption: str


def contact_sheet(
    photos: Sequence[SheetPhoto],
    class_names: Mapping[int, str],
    title: str,
    subtitle: str = "",
    score_threshold: float = 0.5,
    num_columns: int = 2,
) -> Image.Image:
    """The sheet as one RGB image: ``num_columns`` photos in a row, each a pair of pictures.

    ``photos`` are in reading order, and may be none; ``class_names`` are by label. Predictions that
    score less than ``score_threshold`` are not drawn.

    Raises:
        ValueError: ``num_columns`` is below 1.
    """
    if num_columns < 1:
        raise ValueError(f"num_columns must be at least 1, got {num_columns}")
    cards = [_card(photo, class_names, score_threshold) for photo in photos]
    rows = [cards[start : start + num_columns] for start in range(0, len(cards), num_columns)]
    header_height = _PAGE_MARGIN + _TITLE_SIZE + _SUBTITLE_SIZE + 3 * _LINE_GAP
    heights = [max(card.height for card in row) for row in rows]
    width = 2 * _PAGE_MARGIN + num_columns * _card_width() + (num_columns - 1) * _CARD_GAP
    height = header_height + sum(heights) + _CARD_GAP * max(0, len(rows) - 1) + _PAGE_MARGIN
    page = Image.new("RGB", (width, height), _PAGE_COLOUR)
    pen = ImageDraw.Draw(page)
    _write(pen, (_PAGE_MARGIN, _PAGE_MARGIN), title, _TEXT_COLOUR, _TITLE_SIZE)
    below_title = _PAGE_MARGIN + _TITLE_SIZE + _LINE_GAP
    _write(pen, (_PAGE_MARGIN, below_title), subtitle, _MUTED_COLOUR, _SUBTITLE_SIZE)
    y = header_height
    for row, row_height in zip(rows, heights, strict=True):
        _paste_row(page, row, y, row_height)
        y += row_height + _CARD_GAP
    return page


def _font(text: str, size: float) -> Font:
    return load_font(size, font_file_for(text) or OWN_FONT)


def _write(
    pen: ImageDraw.ImageDraw, origin: tuple[float, float], text: str, colour: str, size: float
) -> None:
    write_text(pen, origin, text, colour, _font(text, size))


def _card_width() -> int:
    return 2 * _PICTURE_WH[0] + _PICTURE_GAP + 2 * _CARD_PADDING


def _paste_row(page: Image.Image, cards: Sequence[Image.Image], y: int, height: int) -> None:
    pen = ImageDraw.Draw(page)
    for column, card in enumerate(cards):
        x = _PAGE_MARGIN + column * (_card_width() + _CARD_GAP)
        frame = (x, y, x + card.width - 1, y + height - 1)
        pen.rounded_rectangle(frame, radius=_CARD_RADIUS, fill=_CARD_COLOUR)
        page.paste(card, (x, y), _rounded_mask(card.size))


def _rounded_mask(size_wh: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size_wh, 0)
    frame = (0, 0, size_wh[0] - 1, size_wh[1] - 1)
    ImageDraw.Draw(mask).rounded_rectangle(frame, radius=_CARD_RADIUS, fill=255)
    return mask


def _card(photo: SheetPhoto, class_names: Mapping[int, str], score_threshold: float) -> Image.Image:
    """Headings, the two pictures and the caption, on the colour of a card."""
    picture_wh = _fit(photo.image.size, _PICTURE_WH)
    # Resized before drawing, so that lines and names keep their size.
    image = photo.image.convert("RGB").resize(picture_wh, Image.Resampling.LANCZOS)
    pictures = {
        "prediction": draw_instances(image, photo.detections, class_names, score_threshold),
        "ground truth": draw_instances(image, photo.ground_truth, class_names),
    }
    picture_y = _CARD_PADDING + _HEADING_SIZE + _LINE_GAP
    caption_y = picture_y + picture_wh[1] + _LINE_GAP
    size_wh = (_card_width(), caption_y + _CAPTION_SIZE + _CARD_PADDING)
    card = Image.new("RGB", size_wh, _CARD_COLOUR)
    pen = ImageDraw.Draw(card)
    for column, (heading, picture) in enumerate(pictures.items()):
        x = _CARD_PADDING + column * (_PICTURE_WH[0] + _PICTURE_GAP)
        x += (_PICTURE_WH[0] - picture_wh[0]) // 2
        _write(pen, (x, _CARD_PADDING), heading, _MUTED_COLOUR, _HEADING_SIZE)
        card.paste(picture, (x, picture_y))
    widest = size_wh[0] - 2 * _CARD_PADDING
    caption = shortened(photo.caption, _font(photo.caption, _CAPTION_SIZE), widest)
    _write(pen, (_CARD_PADDING, caption_y), caption, _TEXT_COLOUR, _CAPTION_SIZE)
    return card


def _fit(size_wh: tuple[int, int], limits_wh: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same shape within the limits."""
    scale = min(limits_wh[0] / size_wh[0], limits_wh[1] / size_wh[1])
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))
