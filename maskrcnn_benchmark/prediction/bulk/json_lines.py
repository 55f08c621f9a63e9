"""Records as lines of JSON: whole lines count, and a half one at the end is cut off."""

import json
import os
import re
from pathlib import Path
from typing import IO

import msgspec

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.prediction.bulk.result_files import Record, lock


class _Key(msgspec.Struct):
    """What has to be known of a line; the rest is skipped."""

    file_name: str


class JsonLinesFiles:
    """``NAME.jsonl``, or of several processes ``NAME-<rank>-of-<number>.jsonl`` each.

    A line is in the hands of the system as soon as it is added: a killed process loses none.

    Args:
        path: ``NAME.jsonl``.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, path: Path, rank: int, world_size: int) -> None:
        self._path = path
        self._of_this_run = f"-of-{world_size:05d}"
        part = f"{path.stem}-{rank:05d}{self._of_this_run}{path.suffix}"
        self._own = path if world_size == 1 else path.with_name(part)
        self._file: IO[bytes] | None = None

    @property
    def manifest_path(self) -> Path:
        """Where it is written down what the results are of."""
        return self._path.with_name(f"{self._path.name}.run.json")

    def existing(self) -> list[Path]:
        """The files that hold results already, of any process."""
        stem, suffix = map(re.escape, (self._path.stem, self._path.suffix))
        name = re.compile(rf"{stem}(-\d+-of-\d+)?{suffix}")
        folder = self._path.parent
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if name.fullmatch(path.name) and path.is_file())

    def finished(self) -> set[str]:
        """The keys of the photos that have a record, of any process.

        Raises:
            ConfigError: a file holds lines that are no records.
        """
        keys: set[str] = set()
        for path in self.existing():
            with open(path, "r+b") as file:
                end = _read_keys(path, file, keys)
                size = os.fstat(file.fileno()).st_size
                # Other processes of this run see to theirs.
                is_ours = path == self._own or not path.stem.endswith(self._of_this_run)
                if end < size and is_ours and lock(file.fileno()):
                    file.truncate(end)
        return keys

    def open(self) -> None:
        """Get ready to add records.

        Raises:
            ConfigError: another process is writing this file.
        """
        self._own.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._own, "ab")  # noqa: SIM115 - closed by close()
        if not lock(self._file.fileno()):
            self._file.close()
            raise ConfigError(f"--output: another process is writing {self._own}")

    def add(self, record: Record) -> None:
        """Add a record as a line.

        Raises:
            ValueError: it holds a number that JSON does not know, or the file is not open.
        """
        if self._file is None:
            raise ValueError("add: the files are not open")
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Bring all lines to the disk."""
        if self._file is None:
            return
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None


def _read_keys(path: Path, file: IO[bytes], keys: set[str]) -> int:
    """The number of bytes up to the end of the last whole line; the keys of all are added."""
    decode = msgspec.json.Decoder(_Key).decode
    end = 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            keys.add(decode(line).file_name)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"--output: {path}: line {number} is not what this command writes ({error}); mend "
                "or remove it, or choose another file"
            ) from error
        end += len(line)
    return end
