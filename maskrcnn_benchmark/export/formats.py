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
from maskrcnn_benchmark.export.metadata import Kind

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
        contents: what its files can hold.
        reason: why not more.
        companions: suffixes of further files with the same stem.
    """

    suffix: str
    module: str
    extra: str = ""
    has_opset: bool = False
    contents: tuple[Kind, ...] = ("detector", "dense")
    reason: str = ""
    companions: tuple[str, ...] = ()

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


_UNTRACED: Final = (
    "the sizes of what comes before and behind it depend on the photo, which cannot be traced"
)
EXPORT_FORMATS: Final = Registry[ExportFormat](
    "format (--format)",
    {
        "onnx": ExportFormat(".onnx", "onnx_file", extra="onnx", has_opset=True),
        "openvino": ExportFormat(
            ".xml",
            "openvino_model",
            extra="openvino",
            has_opset=True,
            companions=(".bin",),
        ),
        "torch": ExportFormat(".pt2", "torch_program", contents=("dense",), reason=_UNTRACED),
        "aoti": ExportFormat(".aoti.pt2", "aoti_package", contents=("dense",), reason=_UNTRACED),
    },
)


def check_format(name: str, contents: Kind) -> ExportFormat:
    """The format of this name.

    Raises:
        ConfigError: there is none, PyTorch has given it up, or it cannot hold such contents.
    """
    if name == "torchscript":
        raise ConfigError(
            "--format: TorchScript is deprecated in PyTorch and unchanged by its compiler, and a "
            "scripted model computes no faster here; use --format onnx"
        )
    found = EXPORT_FORMATS[name]
    if contents not in found.contents:
        raise ConfigError(
            f"--format {name}: holds the network alone ({found.reason}); give --dense, too, or "
            "use --format onnx"
        )
    return found
