"""The photos of folders, COCO JSON files and tar shards, each with a key that stays the same.

Imports no PyTorch, so that a wrong path is reported at once.
"""

import hashlib
import itertools
import logging
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from centermask_runtime.photo_files import is_image_file, matching_paths, photos_in
from maskrcnn_benchmark.config.errors import ConfigError

logger = logging.getLogger(__name__)

_BRACES: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_MAX_MEMBER_BYTES: Final = 2**30
TAR_ERRORS: Final = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged shard can end in."""


class BulkPhoto(NamedTuple):
    """A photo and where its bytes are.

    Attributes:
        key: names it in the results: its path, or ``SHARD/MEMBER``.
        path: of its file, or of the shard that it is in.
        offset: of its bytes in the (decompressed) shard; None if it is a file of its own.
        size: of it in a shard, bytes.
        image_id: that of a COCO file.
        fault: why it cannot be read, if that is known already.
    """

    key: str
    path: str
    offset: int | None = None
    size: int = 0
    image_id: int | None = None
    fault: str = ""


def find_bulk_photos(sources: Sequence[str]) -> list[BulkPhoto]:
    """The photos of all sources in order; none comes twice.

    Args:
        sources: image files, folders (searched with their subfolders; for tar shards if there is
            no image file), tar shards (``a.tar``, ``a-{000..123}.tar``), patterns of any of these
            ("photos/*.jpg"), and COCO JSON files (``a.json``, or ``a.json@FOLDER`` with the folder
            of the photos), whose annotations are not read.

    Raises:
        ConfigError: there is no such path, or no photo in it.
        DatasetError: a JSON file cannot be used.
    """
    found = itertools.chain.from_iterable(map(_photos_of, sources))
    # As tar has it, the later one of two members of a name is meant.
    return list({photo.key: photo for photo in found}.values())


def share_of(photos: Iterable[BulkPhoto], rank: int, world_size: int) -> list[BulkPhoto]:
    """The photos that are the work of one of ``world_size`` processes.

    Which of them a photo belongs to depends on its key alone: new photos in a folder change
    nothing for the others.
    """
    if world_size == 1:
        return list(photos)
    return [one for one in photos if _number_of(one.key) % world_size == rank]


def _number_of(key: str) -> int:
    """Any number, far apart for keys that are alike."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _photos_of(source: str) -> Iterable[BulkPhoto]:
    path, at, folder = source.rpartition("@")
    if at and path.lower().endswith(".json") and not Path(source).exists():
        return _photos_of_coco(Path(path).expanduser(), Path(folder).expanduser())
    found = list(_paths_of(source))
    return itertools.chain.from_iterable(map(_photos_of_path, found))


def _paths_of(source: str) -> Iterator[Path]:
    """The path that a word names, or those that it stands for as a pattern."""
    path = Path(source).expanduser()
    braces = _BRACES.search(source)
    if braces is not None and not path.exists():
        first, last = braces[1], braces[2]
        for number in range(int(first), int(last) + 1):
            yield from _paths_of(source.replace(braces[0], f"{number:0{len(first)}}", 1))
        return
    yield from matching_paths(path, "SOURCES")


def _photos_of_path(path: Path) -> Iterable[BulkPhoto]:
    if path.is_dir():
        return _photos_of_folder(path)
    if _is_tar(path):
        return _members(path)
    if path.suffix.lower() == ".json":
        return _photos_of_coco(path, None)
    return [BulkPhoto(_printable(path), str(path))]


def _photos_of_folder(folder: Path) -> Iterable[BulkPhoto]:
    photos = photos_in(folder)
    if photos:
        return (BulkPhoto(_printable(path), str(path)) for path in photos)
    shards = sorted(path for path in folder.rglob("*.t*") if _is_tar(path))
    if not shards:
        raise ConfigError(f"SOURCES: no image files and no tar shards in {folder} or below")
    return itertools.chain.from_iterable(map(_members, shards))


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(_TAR_SUFFIXES) and path.is_file()


def _members(shard: Path) -> Iterator[BulkPhoto]:
    """The image files in a shard; one entry with a fault stands for what cannot be read of it."""
    name = _printable(shard)
    try:
        with tarfile.open(shard, "r:*") as archive:
            for member in archive:
                # It would keep them all.
                archive.members = []  # type: ignore[attr-defined]
                if member.isreg() and not member.issparse() and is_image_file(member.name):
                    yield _photo_of_member(name, str(shard), member)
    except TAR_ERRORS as error:
        logger.error("%s: damaged: %s", shard, error)
        yield BulkPhoto(name, str(shard), fault=f"the shard is damaged from here on: {error}")


def _photo_of_member(name: str, shard: str, member: tarfile.TarInfo) -> BulkPhoto:
    fault = f"larger than {_MAX_MEMBER_BYTES} bytes" if member.size > _MAX_MEMBER_BYTES else ""
    key = f"{name}/{_printable(member.name.removeprefix('./'))}"
    return BulkPhoto(key, shard, member.offset_data, member.size, fault=fault)


def _photos_of_coco(file: Path, folder: Path | None) -> Iterator[BulkPhoto]:
    # Needs NumPy and pycocotools.
    from maskrcnn_benchmark.data.formats.coco import list_images

    for image in list_images(file, folder):
        yield BulkPhoto(_printable(image.path), str(image.path), image_id=image.id)


def _printable(path: Path | str) -> str:
    """A path as text that every file can hold, also where its bytes are no UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()
