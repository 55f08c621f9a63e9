"""The files that ``centermask export`` makes of a model, as contenders."""

import itertools
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import UserError
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS, Contents, check_format
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
        contents: of the file.
    """

    format: str
    contents: Contents

    @property
    def title(self) -> str:
        """What the tables call it."""
        contents = self.contents
        words = f"--format {self.format}" + " --dense" * (contents.kind == "dense")
        words += f" --precision {contents.precision}" * (contents.precision != "float32")
        words += f" --operators {contents.operators}" * (contents.operators != "standard")
        program = _PROGRAMS.get(self.format, self.format)
        return f"{words}, {program} {version(program)}"


def list_exports() -> Iterator[Export]:
    """Every format in all precisions and operators: of the whole model where it holds that."""
    for name, kind in EXPORT_FORMATS.items():
        for operators, precision in itertools.product(kind.operators, kind.precisions):
            contents = Contents(kind=kind.contents[0], precision=precision, operators=operators)
            yield Export(name, contents)


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
    contents = export.contents
    try:
        kind = check_format(export.format, contents.kind)
        path = folder / f"{contents.operators}-{contents.precision}{kind.suffix}"
        make_export(cfg, kind, path, contents=contents, photos=photos)
        return make_export_contender(cfg, path)
    # The rest of the table does without it.
    except UserError as error:
        logger.warning("%s: left out: %s", export.title, error)
        return None
