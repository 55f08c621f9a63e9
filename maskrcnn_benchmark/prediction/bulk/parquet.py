"""Records as a folder of Parquet files, each of which is whole: written beside, then renamed."""

import os
import time
from pathlib import Path
from typing import IO, Any, Final

from maskrcnn_benchmark.config.errors import ConfigError, MissingPackageError
from maskrcnn_benchmark.prediction.bulk.result_files import Record, lock
from maskrcnn_benchmark.utils.files import atomic_write, remove_unfinished

MAX_ROWS: Final = 1000
MAX_SECONDS: Final = 60.0
"""A file is written when there are so many records, or after so long."""


class ParquetFiles:
    """The folder ``NAME.parquet`` with files ``part-<rank>-<number>.parquet`` of each process.

    A killed process loses the records that are in no file yet, which the next run makes again.

    Args:
        path: the folder.
        rank: of this process.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(self, path: Path, rank: int) -> None:
        self._pyarrow = _import_pyarrow()
        self._folder = path
        self._prefix = f"part-{rank:05d}-"
        self._rows: list[Record] = []
        self._begin = time.monotonic()
        self._lock: IO[bytes] | None = None

    @property
    def manifest_path(self) -> Path:
        """Where it is written down what the results are of."""
        # Readers of Parquet folders leave out what begins with "_".
        return self._folder / "_run.json"

    def existing(self) -> list[Path]:
        """The files that hold results already, of any process."""
        if self._folder.is_file():
            return [self._folder]
        return sorted(self._folder.glob("*.parquet"))

    def finished(self) -> set[str]:
        """The keys of the photos that have a record, of any process.

        Raises:
            ConfigError: a file cannot be read.
        """
        keys: set[str] = set()
        for path in self.existing():
            try:
                table = self._pyarrow.parquet.read_table(path, columns=["file_name"])
            except (OSError, ValueError, KeyError) as error:
                raise ConfigError(
                    f"--output: {path} is not what this command writes ({error}); remove it, or "
                    "choose another folder"
                ) from error
            keys.update(table.column("file_name").to_pylist())
        return keys

    def open(self) -> None:
        """Get ready to add records.

        Raises:
            ConfigError: another process is writing this part.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self._folder / f"_{self._prefix}lock", "ab")  # noqa: SIM115 - see close()
        if not lock(self._lock.fileno()):
            self._lock.close()
            raise ConfigError(
                f"--output: another process is writing {self._prefix}* in {self._folder}"
            )
        remove_unfinished(self._folder, self._prefix)

    def add(self, record: Record) -> None:
        """Add a record; a file is written once there are many, or after a while."""
        self._rows.append(record)
        if len(self._rows) >= MAX_ROWS or time.monotonic() - self._begin > MAX_SECONDS:
            self._write()

    def close(self) -> None:
        """Bring all records to the disk."""
        if self._lock is None:
            return
        if self._rows:
            self._write()
        os.unlink(self._lock.name)
        self._lock.close()
        self._lock = None

    def _write(self) -> None:
        numbers = [int(path.stem.rsplit("-", 1)[1]) for path in self._own_parts()]
        name = f"{self._prefix}{max(numbers, default=-1) + 1:06d}.parquet"
        table = self._pyarrow.Table.from_pylist(self._rows, schema=_schema(self._pyarrow))
        with atomic_write(self._folder / name) as file:
            self._pyarrow.parquet.write_table(table, file, compression="zstd")
        self._rows, self._begin = [], time.monotonic()

    def _own_parts(self) -> list[Path]:
        found = self._folder.glob(f"{self._prefix}*.parquet")
        return [path for path in found if path.stem.removeprefix(self._prefix).isdecimal()]


def _import_pyarrow() -> Any:  # noqa: ANN401 - a module without types
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError("pyarrow", "'centermask[parquet]'") from error
    return pyarrow


def _schema(pa: Any) -> Any:  # noqa: ANN401 - of a module without types
    mask = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    found = [
        ("category_id", pa.int64()),
        ("category_name", pa.string()),
        ("score", pa.float32()),
        ("bbox", pa.list_(pa.float32())),
        ("segmentation", mask),
        ("keypoints", pa.list_(pa.float32())),
    ]
    about = [("file_name", pa.string()), ("image_id", pa.int64())]
    about += [("width", pa.int32()), ("height", pa.int32()), ("error", pa.string())]
    return pa.schema([*about, ("objects", pa.list_(pa.struct(found)))])
