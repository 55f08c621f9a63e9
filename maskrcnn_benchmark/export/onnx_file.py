"""Models as ONNX files."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import onnxscript  # noqa: F401 - what PyTorch writes ONNX with; now, before anything is computed
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByRuntime

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.export.detector import write_dense, write_detector
from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source


def write(source: Source, path: Path, *, narrow: bool = False) -> None:
    """Write the model to a file; ``narrow`` as for ``Graph``."""
    if source.metadata.kind == "dense":
        model = write_dense(source.model, source.metadata, source.size_hw)
    else:
        model = write_detector(source.model, source.family, source.metadata, narrow=narrow)
    onnx.save(model, path)


def load(path: Path) -> Run:
    """What runs a file, on the CPU with as many threads as PyTorch takes."""
    session = _open(path)
    names = [each.name for each in session.get_outputs()]
    given = session.get_inputs()[0].name
    return lambda array: dict(zip(names, session.run(None, {given: array}), strict=True))


def read_metadata(path: Path) -> ExportMetadata:
    """What a file says of its model.

    Raises:
        MetadataError: it says nothing that is known.
    """
    texts = _open(path).get_modelmeta().custom_metadata_map
    return ExportMetadata.from_json(texts.get(METADATA_KEY))


def _open(path: Path) -> Any:  # noqa: ANN401 - a class of a package that may be absent
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except NotImplementedByRuntime as error:
        raise ConfigError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run {path}, a newer release may: "
            f"{str(error).splitlines()[0]}"
        ) from error
