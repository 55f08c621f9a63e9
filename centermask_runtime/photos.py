"""Photo files looked at: one is read and one drawn on while a third goes through the model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from centermask_runtime.errors import ImageReadError
from centermask_runtime.image_io import read_image
from centermask_runtime.outputs import Detect, Found, Outputs, Picture, save_drawing, told
from centermask_runtime.photo_files import Photo
from centermask_runtime.pipeline import Progress, StageTimes, run_side_by_side

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

    def _compute(self, read: _Read) -> tuple[_Read, Found]:
        return read, self._detect(read[1].image)

    def _write(self, looked_at: tuple[_Read, Found]) -> None:
        (photo, picture), found = looked_at
        shown = self._outputs.keep(picture, found)
        save_drawing(self._outputs.draw(picture, shown), photo.target)
        self.num_drawn += 1
        done = self._progress.tell(self.num_drawn + len(self.unreadable))
        logger.info("%s: %s: %s -> %s", done, photo.source, told(shown), photo.target)


def draw_on_photos(photos: Sequence[Photo], detect: Detect, outputs: Outputs) -> list[str]:
    """The photos that could not be read; all others were drawn on, and the time taken logged."""
    run = PhotoRun(photos, detect, outputs)
    times = run.run()
    if len(photos) > 1:
        logger.info("%s", times.summary("photo"))
    logger.info("Drew on %d of %d photos, in %s", run.num_drawn, len(photos), outputs.folder)
    return [str(path) for path in run.unreadable]
