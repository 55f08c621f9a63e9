"""Where records go: files of each process that survive a killed writer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from maskrcnn_benchmark.config.errors import ConfigError

Record: TypeAlias = dict[str, Any]
"""What ``records`` makes; named here, where nothing slow is imported, for the command's start."""

JSON_LINES: Final = ".jsonl"
PARQUET: Final = ".parquet"


class ResultFiles(Protocol):
    """The results of a run, of which this process writes a part."""

    @property
    def manifest_path(self) -> Path:
        """Where it is written down what the results are of."""

    def existing(self) -> list[Path]:
        """The files that hold results already, of any process."""

    def finished(self) -> set[str]:
        """The keys of the photos that have a record, of any process.

        What a killed writer left half done is removed, as far as nobody writes there now.

        Raises:
            ConfigError: a file holds something else.
        """

    def open(self) -> None:
        """Get ready to add records.

        Raises:
            ConfigError: another process is writing this part.
        """

    def add(self, record: Record) -> None:
        """Add a record, which is on its way to the disk then or soon."""

    def close(self) -> None:
        """Bring all records to the disk."""


def is_result_path(path: Path) -> bool:
    """Whether a path names results of many photos, by its suffix."""
    return path.suffix.lower() in (JSON_LINES, PARQUET)


def make_result_files(path: Path, rank: int, world_size: int) -> ResultFiles:
    """The result files at ``path``, ``*.jsonl`` or ``*.parquet``.

    Args:
        path: as on the command line.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ConfigError: another suffix.
        MissingPackageError: the package for Parquet is not installed.
    """
    # Of the two, only that which is needed.
    if path.suffix.lower() == JSON_LINES:
        from maskrcnn_benchmark.prediction.bulk.json_lines import JsonLinesFiles

        return JsonLinesFiles(path, rank, world_size)
    if path.suffix.lower() == PARQUET:
        from maskrcnn_benchmark.prediction.bulk.parquet import ParquetFiles

        return ParquetFiles(path, rank)
    raise ConfigError(f"--output: expected a name that ends in .jsonl or .parquet, got {path}")


def lock(descriptor: int) -> bool:
    """Whether this process alone holds the open file from now until it is closed.

    Always true on systems without ``flock``.
    """
    if os.name != "posix":
        return True
    import fcntl  # absent on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def opened(files: ResultFiles) -> Iterator[ResultFiles]:
    """A block in which records can be added; whatever ends it, those added are kept."""
    files.open()
    try:
        yield files
    finally:
        files.close()
