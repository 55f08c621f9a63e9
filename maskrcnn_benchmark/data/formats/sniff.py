"""Looking at files and folders to tell what they are, without reading them whole."""

import itertools
import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import SPLIT_OF_NAME, WHOLE, Part, Reader

_FILE_NAME: Final = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
_WORD: Final = re.compile("[a-z]+")


def mentions(path: Path, *keys: str) -> bool:
    """Whether all the keys occur, in double quotes, in a file."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return all(text.find(f'"{key}"'.encode()) >= 0 for key in keys)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False


def first_file_names(path: Path, count: int) -> list[str]:
    """The first values of "file_name" in a JSON file, at most ``count``."""
    with open(path, "rb") as file:
        found = _FILE_NAME.finditer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return [json.loads(match[1]) for match in itertools.islice(found, count)]


def split_of(path: Path, base: Path) -> str:
    """The split that the name of a file says, or those of the folders from ``base`` down to it."""
    for part in reversed(path.relative_to(base).parts):
        for word in _WORD.findall(part.lower()):
            if word in SPLIT_OF_NAME:
                return SPLIT_OF_NAME[word]
    return WHOLE


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones left out."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(found)


def split_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """The folders in a folder that are named like splits; the folder itself if there are none."""
    named = [(SPLIT_OF_NAME.get(path.name.lower()), path) for path in subfolders(folder)]
    splits = [(split, path) for split, path in named if split is not None]
    yield from splits or [(WHOLE, folder)]


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file.

    Raises:
        DatasetError: it cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"cannot read the annotations {path}: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected an object, not a {type(content).__name__}")
    return content


def one_of_each_split(
    found: Iterable[tuple[str, Path, Path]], reader: Reader, what: str
) -> dict[str, Part]:
    """The parts by split.

    Args:
        found: split, annotations and folder of the images of each.
        reader: reads them.
        what: they are, for the message.

    Raises:
        DatasetError: two have the same split.
    """
    parts: dict[str, Part] = {}
    for split, annotations, images in found:
        if split in parts:
            raise DatasetError(
                f"two {what} could be the {split} part: {parts[split].annotations} and "
                f"{annotations}; give the one that is meant"
            )
        parts[split] = Part(annotations, images, reader)
    return parts
