"""Exported models as contenders: from the files of photos to run lengths of all masks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from centermask_runtime.detections import Detections
from centermask_runtime.predictor import Predictor
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS, find_format
from maskrcnn_benchmark.export.network import NetworkDetector
from maskrcnn_benchmark.export.program import Outputs
from maskrcnn_benchmark.export.verify import as_boxes
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.timing.contenders import Inputs, Photos, encode_objects
from maskrcnn_benchmark.timing.stages import StageTimes
from maskrcnn_benchmark.timing.turns import Detector


class WholeContender:
    """A whole model in a file.

    Args:
        detect: RGB photo -> what is found on it.
        encode: what is found, size (width, height) of the photo -> run lengths of the masks; boxes
            of a model without masks.
    """

    def __init__(
        self,
        detect: Callable[[Image.Image], Any],
        encode: Callable[[Any, tuple[int, int]], list[Any]],
    ) -> None:
        self.detect = detect
        self.encode = encode
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
                objects = self.detect(photo)
            with times.stage("paste, RLE"):
                found.append(self.encode(objects, photo.size))
        return found


def _run_without_pytorch(path: Path) -> WholeContender:
    """An ONNX file, as ``centermask_runtime`` runs it and pastes its masks."""

    def encode(objects: Detections, _size: tuple[int, int]) -> list[Any]:
        return objects.encode() if objects.has_masks else objects.boxes.tolist()

    return WholeContender(Predictor.from_onnx(path, "cpu", torch.get_num_threads()), encode)


def _run_with_own_masks(path: Path) -> WholeContender:
    """A file of another format, whose masks are pasted by this package."""
    functions = EXPORT_FORMATS[find_format(path)].functions()
    metadata, run = functions.read_metadata(path), functions.load(path)

    def encode(outputs: Outputs, size: tuple[int, int]) -> list[Any]:
        return encode_objects(as_boxes(outputs, size, metadata))

    return WholeContender(lambda photo: run(np.asarray(photo)), encode)


class NetworkContender:
    """The network of a model in a file, between the other parts of the model in PyTorch.

    Args:
        detector: both.
        inputs: photos -> normalised batch.
    """

    def __init__(
        self, detector: NetworkDetector, inputs: Callable[[Sequence[Image.Image]], ImageList]
    ) -> None:
        self.detector = detector
        self.inputs = inputs
        self.times = StageTimes()
        self.times.watch(detector.source.twin)

    def __call__(self, paths: Photos) -> list[Any]:
        """The run lengths of the masks in each photo, one after the other; boxes without masks."""
        times, detector = self.times, self.detector
        times.clear()
        found = []
        for path in paths:
            with times.stage("decode"):
                photo = read_image(path)
            with times.stage("resize"):
                images = self.inputs([photo])
            with times.stage("network"):
                maps = detector.compute(images)
            with times.stage("selection"):
                boxes = detector.select(maps, images, photo.size)
            with times.stage("paste, RLE"):
                found.append(encode_objects(boxes))
        return found


_WHOLE: Final[Mapping[str, Callable[[Path], Detector]]] = MappingProxyType(
    {"onnx": _run_without_pytorch}
)
"""What runs whole models, by formats that have a program of their own for it."""


def make_export_contender(cfg: CfgNode, path: Path) -> Detector:
    """What runs an exported file on as many threads as PyTorch takes.

    Args:
        cfg: settings of the model that it is of; MODEL.WEIGHT names its weights.
        path: of the file.

    Raises:
        ConfigError: there is none, it is none of `centermask export`, or of another model.
        MetadataError: likewise.
        MissingPackageError: what runs it is not installed.
    """
    if not path.is_file():
        raise ConfigError(f"no such exported file: {path}")
    name = find_format(path)
    if EXPORT_FORMATS[name].functions().read_metadata(path).kind == "dense":
        detector = NetworkDetector.from_config(cfg, path)
        return NetworkContender(detector, _make_inputs(cfg, detector))
    return _WHOLE.get(name, _run_with_own_masks)(path)


def _make_inputs(
    cfg: CfgNode, detector: NetworkDetector
) -> Callable[[Sequence[Image.Image]], ImageList]:
    """How photos become what its file takes: with our operators as the inference modes do it."""
    metadata = detector.source.metadata
    if metadata.operators == "own" and not metadata.size_hw:
        return Inputs.from_config(cfg, "fast")
    return lambda photos: detector.source.inputs(*photos)
