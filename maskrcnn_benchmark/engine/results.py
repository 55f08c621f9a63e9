"""Detections on photo files, collected as COCO results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.evaluation.coco_format import box_results, keypoint_results, mask_results
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.files import atomic_write


class ResultCollector:
    """Collects one COCO result an object, with the file name of its photo and the class's name.

    Photos are numbered from 1 in the order in which they come.

    Args:
        class_names: by label.
        class_ids: the id in the annotations by label.
    """

    def __init__(self, class_names: Mapping[int, str], class_ids: Mapping[int, int]) -> None:
        self._class_names = class_names
        self._class_ids = class_ids
        self._num_photos = 0
        self.results: list[dict[str, Any]] = []

    def add(self, photo: Path, instances: BoxList) -> None:
        """Add what was found on a photo.

        Args:
            photo: its file.
            instances: K boxes with ``labels`` and ``scores``, in px of the photo; ``mask``,
                ``mask_scores`` and ``keypoints`` if the model gives them.
        """
        self._num_photos += 1
        kinds = [box_results]
        if instances.has_field("mask"):
            kinds.append(mask_results)
        if instances.has_field("keypoints"):
            kinds.append(keypoint_results)
        found = [kind(self._num_photos, instances, self._class_ids) for kind in kinds]
        labels = instances.get_field("labels").tolist()
        for label, *entries in zip(labels, *found, strict=True):
            result = {"file_name": str(photo), "category_name": self._class_names[label]}
            for entry in entries:
                result |= entry
            self.results.append(result)

    def write(self, path: Path) -> None:
        """Write all results as a JSON list."""
        with atomic_write(path, "w") as file:
            file.write(json.dumps(self.results))
