"""The dense part of models as packages of AOTInductor: compiled for this processor, for C++ too."""

from pathlib import Path
from typing import Any

import torch

from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_benchmark.export.own_operators import traceable_sums
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source
from maskrcnn_benchmark.export.torch_program import as_run, trace


def write(source: Source, path: Path) -> None:
    """Compile the dense part, which takes a C++ compiler and minutes."""
    program = trace(source)
    settings = {"aot_inductor.metadata": {METADATA_KEY: source.metadata.to_json()}}
    with traceable_sums():
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs=settings
        )


def load(path: Path) -> Run:
    """What runs a package: images (1, 3, H, W) float32 -> the maps by their names."""
    compiled = torch._inductor.aoti_load_package(str(path))
    return as_run(compiled, _read(compiled))


def read_metadata(path: Path) -> ExportMetadata:
    """What a file says of its model.

    Raises:
        MetadataError: it says nothing that is known.
    """
    return _read(torch._inductor.aoti_load_package(str(path)))


def _read(compiled: Any) -> ExportMetadata:  # noqa: ANN401 - a class that PyTorch keeps to itself
    return ExportMetadata.from_json(compiled.get_metadata().get(METADATA_KEY))
