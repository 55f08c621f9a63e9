"""The formats that models are exported to, by name; imports nothing slow.

A further one is a module with ``write``, ``load`` and ``read_metadata``, as ``onnx_file`` has them,
and an entry here.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from maskrcnn_benchmark.config.errors import ConfigError, MissingPackageError
from maskrcnn_benchmark.config.registry import Registry
from maskrcnn_benchmark.export.metadata import ExportMetadata, Kind, Operators, Precision

if TYPE_CHECKING:
    from maskrcnn_benchmark.export.program import Run
    from maskrcnn_benchmark.export.source import Source

OPSET: Final = 20
"""Of ONNX."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file is to hold.

    Attributes:
        kind: the whole model, or its dense part.
        precision: of the network.
        operators: that the network is made of.
        size_hw: of the only images that a dense part takes; None: any.
    """

    kind: Kind = "detector"
    precision: Precision = "float32"
    operators: Operators = "standard"
    size_hw: tuple[int, int] | None = None


class FormatFunctions(NamedTuple):
    """What a format does.

    Attributes:
        write: puts a model into a file.
        load: what runs a file, on the CPU with as many threads as PyTorch takes.
        read_metadata: what a file says of its model; raises MetadataError if it says nothing known.
    """

    write: "Callable[[Source, Path], None]"
    load: "Callable[[Path], Run]"
    read_metadata: Callable[[Path], ExportMetadata]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A kind of file.

    Attributes:
        suffix: of its files.
        module: with the ``FormatFunctions``.
        extra: of this package, what has to be installed for it; "" is nothing.
        has_opset: it is ONNX.
        contents: what its files can hold.
        reason: why not more.
        companions: suffixes of further files with the same stem.
        precisions: that its files can be run in.
        operators: that its files can be made of.
        deforms: what runs its files has deformable convolutions without ours.
    """

    suffix: str
    module: str
    extra: str = ""
    has_opset: bool = False
    contents: tuple[Kind, ...] = ("detector", "dense")
    reason: str = ""
    companions: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ("float32",)
    operators: tuple[Operators, ...] = ("standard",)
    deforms: bool = False

    def functions(self) -> FormatFunctions:
        """What its module does.

        Raises:
            MissingPackageError: a package that they need is not installed.
        """
        try:
            module = importlib.import_module(f"maskrcnn_benchmark.export.{self.module}")
        except ModuleNotFoundError as error:
            raise MissingPackageError(str(error.name), f"'centermask[{self.extra}]'") from error
        return FormatFunctions(module.write, module.load, module.read_metadata)


_UNTRACED: Final = (
    "the sizes of what comes before and behind it depend on the photo, which cannot be traced"
)
_BOTH: Final[tuple[Precision, ...]] = ("float32", "bf16")
_ALL: Final[tuple[Operators, ...]] = ("standard", "own")
EXPORT_FORMATS: Final = Registry[ExportFormat](
    "format (--format)",
    {
        "onnx": ExportFormat(".onnx", "onnx_file", extra="onnx", has_opset=True, deforms=True),
        "openvino": ExportFormat(
            ".xml",
            "openvino_model",
            extra="openvino",
            has_opset=True,
            companions=(".bin",),
            precisions=_BOTH,
        ),
        "torch": ExportFormat(
            ".pt2",
            "torch_program",
            contents=("dense",),
            reason=_UNTRACED,
            precisions=_BOTH,
            operators=_ALL,
        ),
        "aoti": ExportFormat(
            ".aoti.pt2",
            "aoti_package",
            contents=("dense",),
            reason=_UNTRACED,
            precisions=_BOTH,
            operators=_ALL,
        ),
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


def check_precision(name: str, kind: ExportFormat) -> Precision:
    """The precision of this name.

    Raises:
        ConfigError: there is none, or files of this format cannot be run in it.
    """
    if name == "int8":
        raise ConfigError(
            "--precision int8: is not offered: two trained models lost 0.5 to 0.8 mask AP by it, "
            "and it takes photos to calibrate on (docs/int8.md); expected float32 or bf16"
        )
    for known in _BOTH:
        if name == known and known in kind.precisions:
            return known
    if name in _BOTH:
        raise ConfigError(
            f"--precision {name}: what runs {kind.suffix} files has no convolutions in it on "
            f"processors; expected {' or '.join(kind.precisions)}, or --format openvino"
        )
    raise ConfigError(f"--precision: expected {' or '.join(_BOTH)}, got {name}")


def check_operators(name: str, kind: ExportFormat) -> Operators:
    """The operators of this name.

    Raises:
        ConfigError: there are none, or files of this format cannot hold them.
    """
    for known in _ALL:
        if name == known and known in kind.operators:
            return known
    if name in _ALL:
        fitting = [each for each, other in EXPORT_FORMATS.items() if name in other.operators]
        raise ConfigError(
            f"--operators {name}: what runs {kind.suffix} files knows no operators of this "
            f"package; expected --format {' or '.join(fitting)}"
        )
    raise ConfigError(f"--operators: expected {' or '.join(_ALL)}, got {name}")


def find_format(path: Path) -> str:
    """The name of the format of a file, by its suffix.

    Raises:
        ConfigError: no format has files of this name.
    """
    fitting = [name for name, each in EXPORT_FORMATS.items() if path.name.endswith(each.suffix)]
    if not fitting:
        known = ", ".join(each.suffix for each in EXPORT_FORMATS.values())
        raise ConfigError(f"{path}: expected a file of `centermask export`, which ends in {known}")
    return max(fitting, key=lambda name: len(EXPORT_FORMATS[name].suffix))
