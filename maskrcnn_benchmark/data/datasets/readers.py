"""The formats of annotations that can be read, each by one function."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.datasets.coco_json import scan_coco_json
from maskrcnn_benchmark.data.datasets.content import (
    CocoContent,
    checked_content,
    sorted_categories,
)

_Path: TypeAlias = "str | os.PathLike[str]"
Reader: TypeAlias = Callable[[_Path, _Path], Mapping[str, Any]]
"""(Annotation file or folder, folder of the images) -> content of COCO's structure."""


def scan_coco_json_by_id(ann_file: _Path, root: _Path = "") -> dict[str, Any]:
    """The content of a JSON file in which labels are the ids of categories, as torchvision has it.

    Ids from 1 on that have no category get one that never occurs, so that COCO has 90 of them.

    Raises:
        DatasetError: as ``scan_coco_json``, or the file has no categories.
    """
    content = scan_coco_json(ann_file, root)
    known = sorted_categories(content, os.fspath(ann_file))
    ids = {category["id"] for category in known}
    absent = sorted(set(range(1, max(ids, default=0))) - ids)
    filled = [*known, *({"id": number, "name": f"no category {number}"} for number in absent)]
    return content | {"categories": filled}


COCO_JSON: Final = "coco_json"
READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {COCO_JSON: scan_coco_json, "coco_json_by_id": scan_coco_json_by_id}
)
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


@dataclass(frozen=True)
class PartReader:
    """Reads one part of annotations that come in one piece.

    Attributes:
        base: reads all of them.
        split: the part.
        divide: (content, split) -> the content of that part.
    """

    base: Reader
    split: str
    divide: Callable[[Mapping[str, Any], str], Mapping[str, Any]]

    def __call__(self, ann_file: _Path, root: _Path) -> Mapping[str, Any]:
        """The content of the part."""
        return self.divide(self.base(ann_file, root), self.split)


class ContentReader:
    """Reads annotations, and each file or folder once where several data sets are made of it."""

    def __init__(self) -> None:
        self._read = lru_cache(maxsize=1)(_read_whole)
        self._checked = lru_cache(maxsize=1)(self._check)

    def __call__(
        self,
        ann_file: _Path,
        root: _Path,
        reader: str | Reader = COCO_JSON,
        fields: Collection[str] | None = None,
    ) -> CocoContent:
        """As ``read_content``, from memory if the last annotations that were read are the same."""
        kept = None if fields is None else tuple(fields)
        return self._checked(os.fspath(ann_file), os.fspath(root), reader, kept)

    def forget(self) -> None:
        """Let go of what was read."""
        self._read.cache_clear()
        self._checked.cache_clear()

    def _check(
        self,
        ann_file: str,
        root: str,
        reader: str | Reader,
        fields: tuple[str, ...] | None,
    ) -> CocoContent:
        if isinstance(reader, PartReader):
            content = reader.divide(self._read(ann_file, root, reader.base), reader.split)
        else:
            content = self._read(ann_file, root, find_reader(reader))
        return checked_content(content, ann_file, fields)


def _read_whole(ann_file: str, root: str, reader: Reader) -> Mapping[str, Any]:
    return reader(ann_file, root)


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
    return ContentReader()(ann_file, root, reader, fields)
