"""Photos to records in this process: read ahead on threads, found by one model."""

import io
import tarfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Final, NamedTuple, cast

from PIL import Image

from centermask_runtime.errors import ImageReadError
from centermask_runtime.image_io import read_image
from centermask_runtime.outputs import Found
from maskrcnn_benchmark.prediction.bulk.records import fault_record, found_record
from maskrcnn_benchmark.prediction.bulk.result_files import Record
from maskrcnn_benchmark.prediction.bulk.sources import TAR_ERRORS, BulkPhoto

Find = Callable[[list[Image.Image]], Sequence[Found]]
"""What is on photos, in px of each."""

_READERS: Final = 2
_MAX_FAILURES: Final = 10


class LocalWork:
    """Makes a record of each photo, in order.

    A photo that cannot be read, or that the model cannot be run on (for lack of memory, mostly),
    gets a record with the error. A model that fails on everything is no matter of the photos:
    where the first ten fail in it, its error ends the run.

    Args:
        find: runs the model.
        threshold: objects that score less are left out.
        batch: photos that go through the model together.
    """

    def __init__(self, find: Find, threshold: float, batch: int = 1) -> None:
        self._find = find
        self._threshold = threshold
        self._batch = batch
        self._failures = 0
        self._worked = False

    def __call__(self, photos: Sequence[BulkPhoto]) -> Iterator[Record]:
        """The records."""
        batch: list[_Loaded] = []
        with PhotoReader() as read:
            for loaded in _read_ahead(photos, read, 2 * self._batch + _READERS):
                if isinstance(loaded, _Unreadable):
                    yield fault_record(loaded.photo, loaded.error)
                    continue
                batch.append(loaded)
                if len(batch) == self._batch:
                    yield from self._records(batch)
                    batch = []
            if batch:
                yield from self._records(batch)

    def _records(self, batch: Sequence["_Loaded"]) -> Iterable[Record]:
        try:
            found = self._find([loaded.image for loaded in batch])
        # OutOfMemoryError of CUDA is one, too.
        except (RuntimeError, MemoryError) as error:
            if len(batch) > 1:
                return [record for loaded in batch for record in self._records([loaded])]
            self._failures += 1
            if not self._worked and self._failures >= _MAX_FAILURES:
                raise
            reason = f"the model failed on it: {type(error).__name__}: {error}"
            return [fault_record(batch[0].photo, reason)]
        self._worked = True
        pairs = zip(batch, found, strict=True)
        return [found_record(each.photo, objects.above(self._threshold)) for each, objects in pairs]


class PhotoReader:
    """Reads photos, also those in tar shards, of which the last one stays open for its block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shard = ""
        self._archive: tarfile.TarFile | None = None

    def __enter__(self) -> "PhotoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, photo: BulkPhoto) -> Image.Image:
        """The photo as 8-bit RGB, upright.

        Raises:
            ImageReadError: it cannot be read.
        """
        if photo.fault:
            raise ImageReadError(photo.fault)
        if photo.offset is None:
            return read_image(photo.path)
        return read_image(io.BytesIO(self._bytes_of(photo, photo.offset)), name=photo.key)

    def _bytes_of(self, photo: BulkPhoto, offset: int) -> bytes:
        try:
            with self._lock:
                file = self._open(photo.path)
                file.seek(offset)
                content = file.read(photo.size)
        except TAR_ERRORS as error:
            self._close()
            raise ImageReadError(f"cannot read {photo.key}: {error}") from error
        if len(content) < photo.size:
            raise ImageReadError(f"cannot read {photo.key}: its shard {photo.path} is cut off")
        return content

    def _open(self, shard: str) -> IO[bytes]:
        if self._archive is None or shard != self._shard:
            self._close()
            # Photos come in the order of the shard: also a compressed one is read only once.
            self._archive = tarfile.open(shard, "r:*")  # noqa: SIM115 - open until the next one
            self._shard = shard
        return cast("IO[bytes]", self._archive.fileobj)

    def _close(self) -> None:
        if self._archive is not None:
            self._archive.close()
        self._archive = None


class _Loaded(NamedTuple):
    photo: BulkPhoto
    image: Image.Image


class _Unreadable(NamedTuple):
    photo: BulkPhoto
    error: str


def _read_ahead(
    photos: Iterable[BulkPhoto], read: Callable[[BulkPhoto], Image.Image], depth: int
) -> Iterator[_Loaded | _Unreadable]:
    """The photos in order, each read on a thread while ``depth`` of them wait at most."""

    def load(photo: BulkPhoto) -> _Loaded | _Unreadable:
        try:
            return _Loaded(photo, read(photo))
        except ImageReadError as error:
            return _Unreadable(photo, str(error))

    waiting: deque[Future[_Loaded | _Unreadable]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        for photo in photos:
            waiting.append(pool.submit(load, photo))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
