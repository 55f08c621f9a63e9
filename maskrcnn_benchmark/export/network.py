"""Files that hold the network alone, between our own inputs and our own selection and heads."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.export.dense import detect_on_maps
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS, Contents, find_format
from maskrcnn_benchmark.export.metadata import ExportMetadata
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source, make_source
from maskrcnn_benchmark.modeling.postprocessing import sort_by_score
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList


class NetworkDetector:
    """A model whose backbone, pyramid and head a file computes: a photo -> its detections.

    Args:
        source: the model, of which the rest is taken.
        run: the file.
    """

    def __init__(self, *, source: Source, run: Run) -> None:
        self.source = source
        self.run = run

    @classmethod
    def from_config(cls, cfg: CfgNode, path: Path) -> "NetworkDetector":
        """The file between the other parts of a model.

        Args:
            cfg: settings of the model, for the CPU; MODEL.WEIGHT names its weights.
            path: of the file.

        Raises:
            ConfigError: the file holds a whole model, or the network of another one.
            MetadataError: it does not say what it holds.
            MissingPackageError: what runs files of its format is not installed.
        """
        functions = EXPORT_FORMATS[find_format(path)].functions()
        metadata = functions.read_metadata(path)
        if metadata.kind != "dense":
            raise ConfigError(f"{path}: holds a whole model; expected one of --dense")
        height, width = metadata.size_hw or (0, 0)
        contents = Contents(
            kind="dense",
            precision=metadata.precision,
            operators=metadata.operators,
            size_hw=(height, width) if metadata.size_hw else None,
        )
        source = make_source(cfg, contents, metadata.opset)
        _check_same(path, metadata, source.metadata)
        return cls(source=source, run=functions.load(path))

    def __call__(self, photo: Image.Image) -> BoxList:
        """What is found on an RGB photo, px of it, best first."""
        images = self.source.inputs(photo)
        return self.select(self.compute(images), images, photo.size)

    def compute(self, images: ImageList) -> list[Tensor]:
        """The maps of one image."""
        outputs = self.run(images.tensors.numpy())
        return [torch.from_numpy(outputs[each.name]) for each in self.source.metadata.maps]

    def select(self, maps: Sequence[Tensor], images: ImageList, size: tuple[int, int]) -> BoxList:
        """What is found on the maps of one image, px of its photo (width, height), best first."""
        found: BoxList = detect_on_maps(self.source.twin, maps, images).resize(size)
        return sort_by_score(found)


def _check_same(path: Path, file: ExportMetadata, model: ExportMetadata) -> None:
    """Raise ConfigError unless both tell of the same architecture."""
    for name in ("model", "class_names", "resize", "maps"):
        given, expected = getattr(file, name), getattr(model, name)
        if given != expected:
            raise ConfigError(
                f"{path}: is of another model than {model.model}: {name}: expected "
                f"{str(expected)[:80]}, got {str(given)[:80]}"
            )
