"""A sheet of the photos of which something is wrong, with the objects that it is about."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from PIL import Image, ImageDraw

from centermask_runtime.fonts import OWN_FONT, write_text
from centermask_runtime.labels import shortened
from centermask_runtime.outputs import save_drawing
from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.inspection.findings import NOTE, Finding, Place
from maskrcnn_benchmark.visualization.fonts import font_file_for, load_font

# px
_TILE_WH: Final = (360, 270)
_CAPTION_SIZE: Final = 14
_LINE: Final = 20
_GAP: Final = 14
_NUM_COLUMNS: Final = 4
_NUM_TILES: Final = 24
_PAGE: Final = "#eef0f3"
_MISSING: Final = "#c9ced6"
_TEXT: Final = "#16202c"
_SEVERITY_COLOURS: Final = (("error", "#d92d20"), ("warning", "#b54708"))
_OTHERS: Final = "#9aa4b2"


class _Tile(NamedTuple):
    dataset: DetectionDataset
    finding: Finding
    place: Place
    objects: Sequence[dict[str, Any]]


def draw_findings(parts: Sequence[tuple[DetectionDataset, Sequence[Finding]]], path: Path) -> int:
    """Write the sheet to a file and return how many photos are on it, some of every finding.

    Args:
        parts: data sets with what was found in them, the worst first; notes are not drawn.
        path: of the picture.
    """
    tiles = list(_chosen(parts))[:_NUM_TILES]
    num_rows = max(1, -(-len(tiles) // _NUM_COLUMNS))
    tile_wh = (_TILE_WH[0] + _GAP, _TILE_WH[1] + 2 * _LINE + 2 * _GAP)
    page = Image.new("RGB", (_NUM_COLUMNS * tile_wh[0] + _GAP, num_rows * tile_wh[1] + _GAP), _PAGE)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, _NUM_COLUMNS)
        _paste(page, tile, (_GAP + column * tile_wh[0], _GAP + row * tile_wh[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_drawing(page, path)
    return len(tiles)


def _chosen(
    parts: Sequence[tuple[DetectionDataset, Sequence[Finding]]],
) -> Iterator[_Tile]:
    """The first place of every finding, then the second, and so on; no photo twice in a finding."""
    queues = []
    for dataset, findings in parts:
        objects = dataset.ground_truth()["annotations"]
        for finding in findings:
            if finding.severity != NOTE:
                by_image = {place.image: place for place in reversed(finding.places)}
                places = [place for image, place in sorted(by_image.items()) if image >= 0]
                queues.append([_Tile(dataset, finding, place, objects) for place in places])
    for depth in range(max(map(len, queues), default=0)):
        for queue in queues:
            yield from queue[depth : depth + 1]


def _paste(page: Image.Image, tile: _Tile, corner: tuple[int, int]) -> None:
    """Put a photo and two lines of what is wrong with it on the page."""
    x, y = corner
    pen = ImageDraw.Draw(page)
    try:
        picture = _picture(tile)
        place = (x + (_TILE_WH[0] - picture.width) // 2, y + (_TILE_WH[1] - picture.height) // 2)
        page.paste(picture, place)
    except DatasetError:
        pen.rectangle((x, y, x + _TILE_WH[0], y + _TILE_WH[1]), fill=_MISSING)
    colour = dict(_SEVERITY_COLOURS)[tile.finding.severity]
    lines = [(f"{tile.finding.severity}: {tile.finding.what}", colour), (tile.place.text, _TEXT)]
    for number, (text, ink) in enumerate(lines):
        font = load_font(_CAPTION_SIZE, font_file_for(text) or OWN_FONT)
        line = shortened(text, font, _TILE_WH[0])
        write_text(pen, (x, y + _TILE_WH[1] + 6 + number * _LINE), line, ink, font)


def _picture(tile: _Tile) -> Image.Image:
    """The photo, small, with the outlines and boxes of its objects; the faulty ones in colour."""
    photo = tile.dataset.read_image(tile.place.image)
    scale = min(_TILE_WH[0] / photo.width, _TILE_WH[1] / photo.height)
    size_wh = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    picture = photo.convert("RGB").resize(size_wh, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    colour = dict(_SEVERITY_COLOURS)[tile.finding.severity]
    faulty = {place.annotation for place in tile.finding.places}
    image_id = tile.dataset.image_ids[tile.place.image]
    own = [entry for entry in tile.objects if entry["image_id"] == image_id]
    for entry in sorted(own, key=lambda one: one["id"] in faulty):
        is_faulty = entry["id"] in faulty
        _draw_object(pen, entry, scale, colour if is_faulty else _OTHERS, 3 if is_faulty else 1)
    return picture


def _draw_object(
    pen: ImageDraw.ImageDraw, entry: dict[str, Any], scale: float, colour: str, width: int
) -> None:
    left, top, *size = (value * scale for value in entry["bbox"])
    if min(size) >= 0:
        pen.rectangle((left, top, left + size[0], top + size[1]), outline=colour, width=width)
    outline = entry.get("segmentation")
    for polygon in outline if isinstance(outline, list) else ():
        points = [(x * scale, y * scale) for x, y in zip(polygon[::2], polygon[1::2], strict=True)]
        pen.line([*points, points[0]], fill=colour, width=width)
