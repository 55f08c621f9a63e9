"""Models as OpenVINO's own files, which its converter makes of ONNX."""

import tempfile
from pathlib import Path

import numpy as np
import openvino
import torch

from maskrcnn_benchmark.export import onnx_file
from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source


def write(source: Source, path: Path) -> None:
    """Write the model to a file, and its weights to another beside it, which ends in .bin."""
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / "model.onnx"
        onnx_file.write(source, between, narrow=True)
        model = openvino.convert_model(between)
        model.set_rt_info(source.metadata.to_json(), METADATA_KEY)
        # Half precision would save disk space alone, and change what is found.
        openvino.save_model(model, path, compress_to_fp16=False)


def load(path: Path) -> Run:
    """What runs a file, in float32 on the CPU with as many threads as PyTorch takes."""
    settings = {
        # Left to itself it computes in bfloat16 on processors that do.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    names = [port.get_any_name() for port in compiled.outputs]

    def run(array: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled(array)
        return {name: found[name] for name in names}

    return run


def read_metadata(path: Path) -> ExportMetadata:
    """What a file says of its model.

    Raises:
        MetadataError: it says nothing that is known.
    """
    model = openvino.Core().read_model(path)
    text = model.get_rt_info(METADATA_KEY).value if model.has_rt_info(METADATA_KEY) else None
    return ExportMetadata.from_json(text)
