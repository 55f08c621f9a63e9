"""Helpers that other people's scripts import from here."""

from pathlib import Path


def mkdir(path: str | Path) -> None:
    """Make the folder ``path`` and its missing parents; an existing folder is fine.

    An empty path means the current folder, as in maskrcnn-benchmark.

    Raises:
        FileExistsError: ``path`` is a file.
    """
    Path(path).mkdir(parents=True, exist_ok=True)
