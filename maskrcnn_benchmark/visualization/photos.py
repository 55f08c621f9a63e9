"""Photo files drawn on, one after the other."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from PIL import Image

from maskrcnn_benchmark.data.errors import ImageReadError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.visualization.draw import as_instances, draw_instances, select_by_score

logger = logging.getLogger(__name__)

_JPEG_SUFFIXES = {".jpg", ".jpeg"}
_JPEG_QUALITY = 95


def draw_photos(
    photos: Iterable[tuple[Path, Path]],
    find: Callable[[Image.Image], BoxList],
    class_names: Mapping[int, str],
    score_threshold: float,
) -> list[Path]:
    """The files that could not be read; the drawings of all others are written.

    Args:
        photos: paths of each photo and of its drawing.
        find: gives the instances on an RGB photo, in px of it.
        class_names: by label.
        score_threshold: what scores less is not drawn.
    """
    unreadable = []
    for source, target in photos:
        try:
            image = read_image(source)
        except ImageReadError as error:
            logger.error("%s", error)
            unreadable.append(source)
            continue
        detections = select_by_score(as_instances(find(image)), score_threshold)
        save_drawing(draw_instances(image, detections, class_names), target)
        names = [class_names.get(int(label), str(int(label))) for label in detections.labels]
        found = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
        logger.info("%s: %s -> %s", source, found or "nothing found", target)
    return unreadable


def save_drawing(drawing: Image.Image, path: Path) -> None:
    """Write the drawing, as a JPEG or PNG by the suffix of ``path``."""
    is_jpeg = path.suffix.lower() in _JPEG_SUFFIXES
    with atomic_write(path) as file:
        if is_jpeg:
            drawing.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        else:
            drawing.save(file, "PNG")
