"""Detections on photo files and videos, collected as COCO results."""

import json
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.engine.detections import Detections
from maskrcnn_benchmark.utils.files import atomic_write


class ResultCollector:
    """Collects one COCO result an object, with the file name of its photo and the class's name.

    Pictures are numbered from 1 in the order in which they come.
    """

    def __init__(self) -> None:
        self._num_pictures = 0
        self.results: list[dict[str, Any]] = []

    def add(self, file_name: str, found: Detections, frame: int | None = None) -> None:
        """Add what was found on a photo, or on a ``frame`` of a video, counted from 0."""
        self._num_pictures += 1
        place: dict[str, Any] = {"file_name": file_name}
        if frame is not None:
            place["frame"] = frame
        self.results += [place | result for result in found.to_coco(self._num_pictures)]

    def write(self, path: Path) -> None:
        """Write all results as a JSON list."""
        with atomic_write(path, "w") as file:
            file.write(json.dumps(self.results))
