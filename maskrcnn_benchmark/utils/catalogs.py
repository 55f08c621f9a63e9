"""Finding the file that lists data sets and weights."""

import os
from types import ModuleType

from maskrcnn_benchmark.config import get_default_config, paths_catalog
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.utils.imports import import_file, is_file_of


def import_catalog(path: str) -> ModuleType:
    """The module with ``DatasetCatalog`` and ``ModelCatalog`` that PATHS_CATALOG names.

    The default of the setting stands for the package's own, wherever the program is started;
    however that is spelled, it is not run again.

    Raises:
        ConfigError: there is no such Python file.
    """
    default = get_default_config().PATHS_CATALOG
    if os.path.normpath(path) == os.path.normpath(default) or is_file_of(paths_catalog, path):
        return paths_catalog
    if not os.path.isfile(path):
        raise ConfigError(f"PATHS_CATALOG: expected a Python file, got {path!r}, which is none")
    return import_file("maskrcnn_benchmark.config.users_paths_catalog", path)
