"""The files that ``centermask export`` makes of a model, as contenders."""

import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import UserError
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS, check_format
from maskrcnn_benchmark.export.metadata import Kind, Precision
from maskrcnn_benchmark.export.run import make_export
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.timing.contenders import Photos
from maskrcnn_benchmark.timing.exported import make_export_contender
from maskrcnn_benchmark.timing.turns import Detector

logger = logging.getLogger(__name__)

_PROGRAMS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch", "aoti": "torch"}
"""What runs the files of a format."""


class Export(NamedTuple):
    """A way of exporting.

    Attributes:
        format: name of the format.
        contents: the whole model, or its network.
        precision: of the network.
    """

    format: str
    contents: Kind
    precision: Precision

    @property
    def title(self) -> str:
        """What the tables call it."""
        words = f"--format {self.format}" + " --dense" * (self.contents == "dense")
        words += f" --precision {self.precision}" * (self.precision != "float32")
        program = _PROGRAMS.get(self.format, self.format)
        return f"{words}, {program} {version(program)}"


def list_exports() -> Iterator[Export]:
    """Of each format one in every precision: of the whole model where it holds that."""
    for name, kind in EXPORT_FORMATS.items():
        for precision in kind.precisions:
            yield Export(name, kind.contents[0], precision)


def make_exports(
    cfg: CfgNode, model: GeneralizedRCNN, photos: Photos, folder: Path
) -> dict[str, Detector]:
    """What runs the exports of a model by title, each checked on the photos; the log says why not.

    Args:
        cfg: its settings.
        model: in evaluation mode.
        photos: that it finds something on.
        folder: for the files.
    """
    own = cfg.clone()
    own.defrost()
    own.MODEL.WEIGHT = str(folder / "model.pth")
    torch.save({"model": model.state_dict()}, own.MODEL.WEIGHT)
    made = {export: _try(own, export, photos, folder) for export in list_exports()}
    return {export.title: one for export, one in made.items() if one is not None}


def _try(cfg: CfgNode, export: Export, photos: Photos, folder: Path) -> Detector | None:
    try:
        kind = check_format(export.format, export.contents)
        path = folder / f"{export.contents}-{export.precision}{kind.suffix}"
        wanted = {"contents": export.contents, "precision": export.precision}
        make_export(cfg, kind, path, photos=photos, **wanted)
        return make_export_contender(cfg, path)
    # The rest of the table does without it.
    except UserError as error:
        logger.warning("%s: left out: %s", export.title, error)
        return None
