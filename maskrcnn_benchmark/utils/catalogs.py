"""Finding the file that lists data sets and weights."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from maskrcnn_benchmark.config import paths_catalog
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.utils.imports import import_file

_OWN_FILE = "maskrcnn_benchmark/config/paths_catalog.py"


def import_catalog(path: str) -> ModuleType:
    """The module with ``DatasetCatalog`` and ``ModelCatalog`` that PATHS_CATALOG names.

    Args:
        path: a Python file; the default of the setting stands for the package's own, wherever
            the program is started.

    Raises:
        ConfigError: there is no such file.
    """
    if Path(path).as_posix() == _OWN_FILE:
        return paths_catalog
    if not Path(path).is_file():
        raise ConfigError(f"PATHS_CATALOG: expected a Python file, got {path!r}, which is none")
    return import_file("maskrcnn_benchmark.config.users_paths_catalog", path)
