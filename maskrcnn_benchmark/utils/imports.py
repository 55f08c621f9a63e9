"""Importing a Python file by its path."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

_PACKAGE_PARENT: Final = Path(__file__).resolve().parents[2]


def import_file(
    module_name: str, file_path: str | Path, make_importable: bool = False
) -> ModuleType:
    """The module that the Python file ``file_path`` makes.

    If a module of that name was imported from that file already, it is that one.

    Args:
        module_name: name that the module gets.
        file_path: the file; its code runs. A relative path starts from the current folder or, if
            nothing is there, from the one that holds this package, as the default of
            PATHS_CATALOG does.
        make_importable: also enter it into ``sys.modules``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its name does not end like a Python file's.
    """
    path = Path(file_path)
    if not path.is_file():
        path = _PACKAGE_PARENT / path
    if not path.is_file():
        raise FileNotFoundError(f"import_file: no file {str(file_path)!r}")
    imported = sys.modules.get(module_name)
    if imported is not None and is_file_of(imported, path):
        return imported
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"import_file: {str(path)!r} is no Python file (expected *.py)")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if make_importable:
        sys.modules[module_name] = module
    return module


def is_file_of(module: ModuleType, path: str | Path) -> bool:
    """Whether ``path``, in whatever spelling, is the file that ``module`` was imported from."""
    own = getattr(module, "__file__", None)
    return (
        own is not None
        and Path(own).is_file()
        and Path(path).is_file()
        and Path(own).samefile(path)
    )
