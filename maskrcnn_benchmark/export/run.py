"""Writing an export, and giving it its name once it was found to be the model."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.export.bfloat16 import Closeness, make_bfloat16_check
from maskrcnn_benchmark.export.formats import OPSET, Contents, ExportFormat
from maskrcnn_benchmark.export.metadata import Precision
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.refusals import check_layers
from maskrcnn_benchmark.export.source import Source, make_source
from maskrcnn_benchmark.export.verify import (
    Difference,
    NotTheSameError,
    Photos,
    check_photos,
    check_readable,
    verify,
)

logger = logging.getLogger(__name__)

UNVERIFIED: Final = ".unverified"
Check: TypeAlias = Callable[[Run, Photos], Difference | Closeness]
_CHECKS: Final[Mapping[Precision, Callable[[Source], Check]]] = MappingProxyType(
    {"float32": lambda source: partial(verify, source), "bf16": make_bfloat16_check}
)
"""What says how far a file is from a model, or raises NotTheSameError."""


def make_export(
    cfg: CfgNode,
    kind: ExportFormat,
    path: Path,
    *,
    contents: Contents,
    photos: Sequence[Path] = (),
) -> Path:
    """The file that a model was exported to, after it found on photos what the model finds.

    Args:
        cfg: settings; MODEL.WEIGHT names the weights.
        kind: of file.
        path: of the file. Until it was checked, and for good if it does not pass, it is called
            ``NAME.unverified.SUFFIX``.
        contents: of the file.
        photos: that are compared on; () takes the bundled ones.

    Raises:
        ConfigError: the model cannot be exported; the message says why.
        NotTheSameError: the file finds something else than the model.
    """
    functions = kind.functions()
    check_readable(photos)
    source = make_source(cfg, contents, OPSET if kind.has_opset else 0)
    if not kind.deforms and contents.operators == "standard":
        check_layers(source.model)
    check = _CHECKS[contents.precision](source)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.name.removesuffix(kind.suffix)
    unverified = path.with_name(f"{stem}{UNVERIFIED}{kind.suffix}")
    functions.write(source, unverified)
    logger.info("Wrote %s (%.1f MB); comparing with PyTorch", unverified, _megabytes(unverified))
    try:
        difference = check(functions.load(unverified), check_photos(photos))
    except NotTheSameError as error:
        raise NotTheSameError(f"{error}. The file is kept as {unverified}") from error
    # The file that is asked for comes last: where it is, the others are.
    for suffix in (*kind.companions, kind.suffix):
        unverified.with_name(f"{stem}{UNVERIFIED}{suffix}").replace(
            path.with_name(f"{stem}{suffix}")
        )
    logger.info("%s finds what the model finds: %s", path, difference)
    return path


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def check_target(path: Path, kind: ExportFormat, *, overwrite: bool) -> None:
    """Raise ConfigError if the file to write has another suffix, or it or a companion exists."""
    if not path.name.endswith(kind.suffix):
        raise ConfigError(f"--output: expected a name that ends in {kind.suffix}, got {path}")
    stem = path.name.removesuffix(kind.suffix)
    for suffix in (kind.suffix, *kind.companions):
        file = path.with_name(stem + suffix)
        if file.exists() and not overwrite:
            raise ConfigError(f"--output: {file} exists; --overwrite replaces it")
