"""Writing files so that a killed process never leaves half of one."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_TEMPORARY_SUFFIX = ".unfinished"


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """A file object whose content appears at ``path`` only when the block ends well.

    The content, bytes (``"wb"``) or UTF-8 text (``"w"``), is written to a hidden file in the same
    folder, flushed to the disk and then renamed over ``path``. When the block raises, ``path``
    keeps what it had and the hidden file is removed; when the process is killed,
    ``remove_unfinished`` does that. Missing parent folders are made.

    Raises:
        ValueError: another ``mode``.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"atomic_write: mode must be 'wb' or 'w', got {mode!r}")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}{_TEMPORARY_SUFFIX}"
    try:
        with open(temporary, mode, encoding="utf-8" if mode == "w" else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_json(path: str | os.PathLike[str], content: object, indent: int | None = None) -> None:
    """Write ``content`` as JSON by ``atomic_write``, in one line unless there is an ``indent``."""
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=indent)


def remove_unfinished(folder: str | os.PathLike[str], prefix: str = "") -> list[Path]:
    """The hidden files that killed writers left in ``folder``, which are deleted by this call.

    Only where nobody is writing files with that ``prefix`` now; subfolders are left alone.
    """
    leftovers = sorted(Path(folder).glob(f".{prefix}*{_TEMPORARY_SUFFIX}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return leftovers


def _sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def as_file_name(text: str) -> str:
    """A text, such as a path, as the name of a file or folder: its last two parts, plainly."""
    parts = [part for part in re.split(r"[/\\]", text) if part.strip(".")]
    return re.sub(r"[^\w.@#+-]+", "_", "_".join(parts[-2:])) or "_"
