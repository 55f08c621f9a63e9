"""The dense part of models as programs of torch.export, which PyTorch alone runs.

The selection behind it makes tensors whose sizes depend on the photo, at every turn, and the
resize before it needs sizes to compute sizes: ONNX has operators for both, and a traced program
would have neither in a form that can be checked for sizes that were not traced.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_benchmark.export.parts import DensePart, DensePartInBFloat16, trace_dense_part
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source


def write(source: Source, path: Path) -> None:
    """Write the dense part to a file, which ``torch.export.load`` reads."""
    program = trace(source)
    texts = {METADATA_KEY: source.metadata.to_json()}
    torch.export.save(program, path, extra_files=texts)


def trace(source: Source) -> torch.export.ExportedProgram:
    """The dense part of a model, in the precision that its metadata name."""
    part = DensePart(source.model)
    is_narrow = source.metadata.precision == "bf16"
    traced = DensePartInBFloat16(part) if is_narrow else part
    return trace_dense_part(traced, source.metadata.resize.divisibility, source.size_hw)


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
