"""Reading of YAML files, and of the files that they build upon (``_BASE_``)."""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_benchmark.config.errors import ConfigError

BASE_KEY = "_BASE_"


def read_with_bases(path: str | PathLike[str]) -> list[tuple[Path, dict[str, Any]]]:
    """The contents of a YAML file and of the files it builds upon, in the order of merging.

    ``_BASE_: other.yaml`` (or a list of files) at the top level of a file means: the content of
    that file first, then this one's. The path is relative to the file that says it.

    Returns:
        Pairs of file and content (without ``_BASE_``), foundations first, ``path`` last.

    Raises:
        ConfigError: for a missing file, text that is not YAML, content that is not a mapping,
            or files that build upon one another in a circle.
    """
    return list(_read(Path(path), ()))


def _read(path: Path, dependents: tuple[Path, ...]) -> Iterator[tuple[Path, dict[str, Any]]]:
    path = path.expanduser()
    chain = (*dependents, path.resolve())
    if chain[-1] in dependents:
        raise ConfigError(f"{BASE_KEY} goes in a circle: {' -> '.join(map(str, chain))}")
    content = _read_mapping(path, dependents)
    bases = content.pop(BASE_KEY, None) or []
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str):
            raise ConfigError(f"{path}: {BASE_KEY} expects a path or a list of paths, got {base!r}")
        yield from _read(path.parent / Path(base).expanduser(), chain)
    yield path, content


def _read_mapping(path: Path, dependents: tuple[Path, ...]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except FileNotFoundError as error:
        reason = f" ({BASE_KEY} of {dependents[-1]})" if dependents else ""
        raise ConfigError(f"configuration file {path} does not exist{reason}") from error
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of keys, got {type(content).__name__}")
    return content
