"""The formats of annotations that can be read, each by one function."""

import os
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.datasets.coco_json import scan_coco_json
from maskrcnn_benchmark.data.datasets.content import CocoContent, checked_content

_Path: TypeAlias = "str | os.PathLike[str]"
Reader: TypeAlias = Callable[[_Path, _Path], Mapping[str, Any]]
"""(Annotation file or folder, folder of the images) -> content of COCO's structure."""

COCO_JSON: Final = "coco_json"
READERS: Final[Mapping[str, Reader]] = MappingProxyType({COCO_JSON: scan_coco_json})
"""Name of a format, as "reader" of a catalog entry -> the function that reads it."""


def find_reader(reader: str | Reader) -> Reader:
    """The reader of that name, or the function itself.

    Raises:
        ConfigError: the name is unknown.
    """
    if not isinstance(reader, str):
        return reader
    if reader not in READERS:
        known = ", ".join(READERS)
        raise ConfigError(f"unknown reader {reader!r} of a data set; known: {known}")
    return READERS[reader]


def read_content(
    ann_file: _Path,
    root: _Path,
    reader: str | Reader = COCO_JSON,
    fields: Collection[str] | None = None,
) -> CocoContent:
    """The annotations of a data set, checked, as the reader or the one of that name finds them.

    ``fields`` are those of ``checked_content``.

    Raises:
        DatasetError: they cannot be read or used.
        ConfigError: the reader is unknown.
    """
    return checked_content(find_reader(reader)(ann_file, root), os.fspath(ann_file), fields)
