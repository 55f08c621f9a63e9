"""The formats that models are exported to, by name; imports nothing slow.

A further one is a module with ``write`` and ``load``, as ``onnx_file`` has them, and an entry here.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maskrcnn_benchmark.config.errors import ConfigError, MissingPackageError
from maskrcnn_benchmark.config.registry import Registry

if TYPE_CHECKING:
    from maskrcnn_benchmark.export.source import Source
    from maskrcnn_benchmark.export.verify import Run

OPSET: Final = 20
"""Of ONNX."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A kind of file.

    Attributes:
        suffix: of its files.
        module: with ``write(source, path)``, and ``load(path)``, which gives what runs a file.
        extra: of this package, what has to be installed for it; "" is nothing.
        has_opset: it is ONNX.
    """

    suffix: str
    module: str
    extra: str = ""
    has_opset: bool = False

    def functions(
        self,
    ) -> "tuple[Callable[[Source, Path], None], Callable[[Path], Run]]":
        """``write`` and ``load``.

        Raises:
            MissingPackageError: a package that they need is not installed.
        """
        try:
            module = importlib.import_module(f"maskrcnn_benchmark.export.{self.module}")
        except ModuleNotFoundError as error:
            raise MissingPackageError(str(error.name), f"'centermask[{self.extra}]'") from error
        return module.write, module.load


EXPORT_FORMATS: Final = Registry[ExportFormat](
    "format (--format)",
    {"onnx": ExportFormat(".onnx", "onnx_file", extra="onnx", has_opset=True)},
)


def check_format(name: str) -> ExportFormat:
    """The format of this name.

    Raises:
        ConfigError: there is none, or PyTorch has given it up.
    """
    if name == "torchscript":
        raise ConfigError(
            "--format: TorchScript is deprecated in PyTorch and unchanged by its compiler, and a "
            "scripted model computes no faster here; use --format onnx"
        )
    return EXPORT_FORMATS[name]
