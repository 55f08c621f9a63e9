"""Exported models as contenders: from the files of photos to run lengths of all masks."""

from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.export.onnx_file import load, read_metadata
from maskrcnn_benchmark.export.verify import as_boxes
from maskrcnn_benchmark.timing.contenders import Photos
from maskrcnn_benchmark.timing.stages import StageTimes


class ExportContender:
    """A whole model in an ONNX file, run by ONNX Runtime on as many threads as PyTorch takes.

    Args:
        path: of the file.

    Raises:
        ConfigError: it holds the network alone.
        MetadataError: it is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.metadata = read_metadata(path)
        if self.metadata.kind != "detector":
            raise ConfigError(f"{path}: holds the network alone, which has no end to time")
        self.run = load(path)
        self.times = StageTimes()

    def __call__(self, paths: Photos) -> list[Any]:
        """The run lengths of the masks in each photo, one after the other; boxes without masks."""
        times = self.times
        times.clear()
        found = []
        for path in paths:
            with times.stage("decode"):
                photo = read_image(path)
            with times.stage("network"):
                outputs = self.run(np.asarray(photo))
            with times.stage("paste, RLE"):
                boxes = as_boxes(outputs, photo.size, self.metadata.pixel_offset)
                has_masks = boxes.has_field("mask")
                found.append(boxes.predicted_masks.encode() if has_masks else boxes.bbox.tolist())
        return found
