"""Photo files drawn on, one after the other."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from PIL import Image

from centermask_runtime.outputs import save_drawing
from maskrcnn_benchmark.data.errors import ImageReadError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.visualization.draw import as_instances, draw_instances, select_by_score

logger = logging.getLogger(__name__)


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
