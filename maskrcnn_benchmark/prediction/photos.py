"""Photo files looked at: one is read and one drawn on while a third goes through the model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from maskrcnn_benchmark.data.errors import ImageReadError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.prediction.outputs import Detect, Outputs, Picture
from maskrcnn_benchmark.prediction.pipeline import Progress, StageTimes, run_side_by_side
from maskrcnn_benchmark.utils.photo_files import Photo
from maskrcnn_benchmark.visualization.photos import save_drawing

if TYPE_CHECKING:
    from maskrcnn_benchmark.engine.detections import Detections

logger = logging.getLogger(__name__)

_Read: TypeAlias = tuple[Photo, Picture]


class PhotoRun:
    """A run over photos, which draws on each; those that cannot be read are told and left out.

    Args:
        photos: files, and where their drawings go.
        detect: the model.
        outputs: what is kept.

    Attributes:
        unreadable: files that could not be read.
        num_drawn: photos that were drawn on.
    """

    def __init__(self, photos: Sequence[Photo], detect: Detect, outputs: Outputs) -> None:
        self.unreadable: list[Path] = []
        self.num_drawn = 0
        self._photos = photos
        self._detect = detect
        self._outputs = outputs
        self._progress = Progress(len(photos))

    def run(self) -> StageTimes:
        """How long it took."""
        return run_side_by_side(self._read(), self._compute, self._write)

    def _read(self) -> Iterator[_Read]:
        targets = [photo.target.relative_to(self._outputs.folder) for photo in self._photos]
        count = Counter(target.with_suffix("") for target in targets)
        for photo, target in zip(self._photos, targets, strict=True):
            # a.jpg and a.png of a folder keep their suffixes, so that neither replaces the other.
            name = target.with_suffix("")
            name = name if count[name] == 1 else target
            try:
                image = read_image(photo.source)
            except ImageReadError as error:
                logger.error("%s", error)
                self.unreadable.append(photo.source)
            else:
                yield photo, Picture(str(photo.source), name, image)

    def _compute(self, read: _Read) -> tuple[_Read, Detections]:
        return read, self._detect(read[1].image)

    def _write(self, looked_at: tuple[_Read, Detections]) -> None:
        (photo, picture), found = looked_at
        shown = self._outputs.keep(picture, found)
        save_drawing(self._outputs.draw(picture, shown), photo.target)
        self.num_drawn += 1
        told = ", ".join(f"{count} {name}" for name, count in Counter(shown.names).items())
        done = self._progress.tell(self.num_drawn + len(self.unreadable))
        logger.info("%s: %s: %s -> %s", done, photo.source, told or "nothing", photo.target)
