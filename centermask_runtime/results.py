"""Detections on photo files and videos, written as COCO results."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from centermask_runtime.files import atomic_write

if TYPE_CHECKING:
    from centermask_runtime.outputs import Found


class ResultFile:
    """A JSON list of COCO results, one an object, with file name and class name.

    Pictures are numbered from 1 in the order in which they come. Results go to the disk as they
    come, so that there may be any number, into a hidden file that gets its name when it is closed.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._num_pictures = 0
        self._num_results = 0
        self._closing = ExitStack()
        self._file = self._closing.enter_context(atomic_write(path, "w"))
        self._file.write("[")

    def add(self, file_name: str, found: Found, frame: int | None = None) -> None:
        """Add what was found on a photo, or on a ``frame`` of a video, counted from 0."""
        self._num_pictures += 1
        place: dict[str, Any] = {"file_name": file_name}
        if frame is not None:
            place["frame"] = frame
        for result in found.to_coco(self._num_pictures):
            self._file.write(",\n" if self._num_results else "\n")
            self._file.write(json.dumps(place | result))
            self._num_results += 1

    def close(self) -> None:
        """Let the file appear, with all that was added."""
        self._file.write("\n]\n")
        self._closing.close()
