"""The dense part of models as programs of torch.export, which PyTorch alone runs.

The selection behind it makes tensors whose sizes depend on the photo, at every turn, and the
resize before it needs sizes to compute sizes: ONNX has operators for both, and a traced program
would have neither in a form that can be checked for sizes that were not traced.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_benchmark.export.own_operators import plain_weights, traceable_sums
from maskrcnn_benchmark.export.parts import DensePart, DensePartInBFloat16, trace_dense_part
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source


def write(source: Source, path: Path) -> None:
    """Write the dense part to a file, which ``torch.export.load`` reads."""
    save(trace(source), path, {METADATA_KEY: source.metadata.to_json()})


def save(program: torch.export.ExportedProgram, path: Path, texts: Mapping[str, str]) -> None:
    """Write a program to a file, with texts that ``torch.export.load`` gives back."""
    with warnings.catch_warnings():
        # It finds weights that lie as NHWC incomplete, and writes them as they are.
        warnings.filterwarnings("ignore", message="No complete tensor")
        torch.export.save(program, path, extra_files=dict(texts))


def trace(source: Source) -> torch.export.ExportedProgram:
    """The dense part of a model, in the precision and the operators that its metadata name."""
    metadata = source.metadata
    stride = max(record.stride for record in metadata.maps)
    sizes = (metadata.resize.divisibility, source.size_hw, stride)
    part = DensePart(source.twin)
    if metadata.operators == "own":
        with plain_weights(part), traceable_sums():
            return trace_dense_part(part, *sizes)
    is_narrow = metadata.precision == "bf16"
    return trace_dense_part(DensePartInBFloat16(part) if is_narrow else part, *sizes)


def load(path: Path) -> Run:
    """What runs a file: images (1, 3, H, W) float32 -> the maps by their names."""
    program, metadata = _open(path)
    return as_run(program.module(), metadata)


def read_metadata(path: Path) -> ExportMetadata:
    """What a file says of its model.

    Raises:
        MetadataError: it says nothing that is known.
    """
    return _open(path)[1]


def _open(path: Path) -> tuple[torch.export.ExportedProgram, ExportMetadata]:
    texts = {METADATA_KEY: ""}
    program = torch.export.load(path, extra_files=texts)
    return program, ExportMetadata.from_json(texts[METADATA_KEY] or None)


def as_run(compute: object, metadata: ExportMetadata) -> Run:
    """What calls a program, and names its outputs."""
    assert callable(compute)

    @torch.no_grad()
    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        maps: Sequence[Tensor] = compute(torch.from_numpy(images))
        names = [record.name for record in metadata.maps]
        return dict(zip(names, [each.numpy() for each in maps], strict=True))

    return run
