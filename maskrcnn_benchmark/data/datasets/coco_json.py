"""Reading annotation files in COCO's format."""

from __future__ import annotations

import codecs
import json
import mmap
import os
from collections.abc import Sequence
from typing import Any, TypeVar, overload

import msgspec

from maskrcnn_benchmark.data.errors import DatasetError

Row = TypeVar("Row", bound=msgspec.Struct)


class JsonEntries(Sequence[dict[str, Any]]):
    """The entries of a list in a JSON file, each decoded when it is asked for.

    A million annotations as Python objects take gigabytes; as text in a file they take next to
    nothing.

    Args:
        source: the name of the file, for messages.
        file: its text.
        texts: of the entries, views of the file's.
    """

    def __init__(self, source: str, file: mmap.mmap, texts: Sequence[msgspec.Raw]) -> None:
        self._source = source
        self._file = file
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """New entries, as the JSON module reads them."""
        if not isinstance(index, slice):
            index = range(len(self))[index]
            return self[index : index + 1][0]
        entries: list[dict[str, Any]] = _loads(self._source, self._text(index))
        return entries

    def rows(self, start: int, stop: int, kind: type[Row]) -> list[Row] | None:
        """Entries ``start`` to ``stop`` as structures; None if one of them is of another form."""
        try:
            return msgspec.json.decode(self._text(slice(start, stop)), type=list[kind])  # type: ignore[valid-type]
        except msgspec.MsgspecError:
            return None
        finally:
            _give_back(self._file)

    def _text(self, index: slice) -> bytes:
        return b"[" + b",".join(self._texts[index]) + b"]"


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    categories: list[dict[str, Any]]
    annotations: list[msgspec.Raw] = []


def read_coco_json(
    ann_file: str | os.PathLike[str],
    root: str | os.PathLike[str] = "",  # noqa: ARG001 - readers of other formats need it
) -> dict[str, Any]:
    """The content of a JSON file, as it is.

    Raises:
        DatasetError: the file cannot be read, or is no JSON object.
    """
    name = os.fspath(ann_file)
    try:
        with open(name, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        raise DatasetError(f"no such annotation file: {name}") from None
    except OSError as error:
        raise DatasetError(f"cannot read the annotation file {name}: {error.strerror}") from error
    content = _loads(name, text)
    if not isinstance(content, dict):
        raise DatasetError(
            f"{name}: expected an object with 'images', 'annotations' and 'categories', "
            f"not a {type(content).__name__}"
        )
    return content


def scan_coco_json(
    ann_file: str | os.PathLike[str], root: str | os.PathLike[str] = ""
) -> dict[str, Any]:
    """The content of a JSON file, its images and annotations as ``JsonEntries`` where possible.

    Sections that nothing here needs are left out.

    Raises:
        DatasetError: as ``read_coco_json``.
    """
    name = os.fspath(ann_file)
    try:
        with open(name, "rb") as file:
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = len(codecs.BOM_UTF8) if text[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8 else 0
        sections = msgspec.json.decode(memoryview(text)[start:], type=_File)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        # No file, another structure, which the checks will tell of, or what only Python's module
        # takes, such as NaN.
        return read_coco_json(ann_file, root)
    _give_back(text)
    return {
        "images": JsonEntries(name, text, sections.images),
        "categories": sections.categories,
        "annotations": JsonEntries(name, text, sections.annotations),
    }


def _give_back(text: mmap.mmap) -> None:
    """Let go of the memory of a file, which the system reads again where it is asked for."""
    if hasattr(mmap, "MADV_DONTNEED"):
        text.madvise(mmap.MADV_DONTNEED)


def _loads(name: str, text: bytes) -> Any:  # noqa: ANN401 - what JSON has
    """What a text says."""
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{name} is not valid JSON: {error}") from error
