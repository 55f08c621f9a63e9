"""Models as ONNX files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from maskrcnn_benchmark.config.errors import MissingPackageError
from maskrcnn_benchmark.export.detector import write_detector
from maskrcnn_benchmark.export.source import Source
from maskrcnn_benchmark.export.verify import Outputs, Run


def write(source: Source, path: Path) -> None:
    """Write the model to a file."""
    onnx.save(write_detector(source.model, source.family, source.metadata), path)


def load(path: Path) -> Run:
    """What runs a file, on the CPU with as many threads as PyTorch takes."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "'centermask[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    given = session.get_inputs()[0].name

    def run(photo: np.ndarray[Any, np.dtype[np.uint8]]) -> Outputs:
        found: Mapping[str, Any] = dict(zip(names, session.run(None, {given: photo}), strict=True))
        return found

    return run
