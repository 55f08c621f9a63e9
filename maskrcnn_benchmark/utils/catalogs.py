"""Finding the file that lists data sets and weights."""

import os
import traceback
from types import ModuleType
from typing import Any, Final

from maskrcnn_benchmark.config import get_default_config, paths_catalog
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.utils.imports import import_file, is_file_of

_MODULE_NAME: Final = "maskrcnn_benchmark.utils.users_catalog"
_FILE_VARIABLE: Final = "CENTERMASK_USERS_CATALOG"


def import_catalog(path: str) -> ModuleType:
    """The module with ``DatasetCatalog`` and ``ModelCatalog`` that PATHS_CATALOG names.

    The default of the setting stands for the package's own, wherever the program is started;
    however that is spelled, it is not run again.

    A user's file is known to the processes that this one starts, too, even where they begin with a
    fresh interpreter: what it defines can be sent to them.

    Raises:
        ConfigError: there is no such Python file, or it cannot be run.
    """
    path = os.path.expanduser(path)
    default = get_default_config().PATHS_CATALOG
    if os.path.normpath(path) == os.path.normpath(default) or is_file_of(paths_catalog, path):
        return paths_catalog
    if not os.path.isfile(path):
        raise ConfigError(f"PATHS_CATALOG: expected a Python file, got {path!r}, which is none")
    os.environ[_FILE_VARIABLE] = os.path.abspath(path)
    try:
        return import_file(_MODULE_NAME, path, make_importable=True)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"PATHS_CATALOG: {path} cannot be run: {_told(error, path)}") from error


def catalog_class(module: Any, name: str) -> Any:  # noqa: ANN401 - a user's class
    """The class of that name, ``DatasetCatalog`` or ``ModelCatalog``, in a catalog's module.

    Raises:
        ConfigError: it has none.
    """
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(
            f"PATHS_CATALOG: {getattr(module, '__file__', module)} has no {name}. The package's "
            f"own is had by: from {paths_catalog.__name__} import {name}"
        )
    return found


def _told(error: Exception, path: str) -> str:
    """The kind of an error, its text, and the line of the file where it was."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == os.path.abspath(path) or frame.filename == path
    ]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}"
