"""Reading, computing and writing side by side, so that none of them waits for the others."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from queue import Empty, Full, Queue
from time import perf_counter
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_END: Final = object()
_POLL_SECONDS: Final = 0.1
# A camera that gives no image any more must not keep the program from ending.
_JOIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Seconds that each stage was busy, and that all of them took together."""

    reading: float
    inference: float
    writing: float
    together: float
    count: int

    def summary(self, unit: str) -> str:
        """One line for people, in which an item is called ``unit``."""
        stages = {
            "reading": self.reading,
            "inference": self.inference,
            "drawing and writing": self.writing,
        }
        told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
        rate = self.count / self.together if self.together > 0 else 0.0
        slowest = max(stages, key=stages.__getitem__)
        return (
            f"{self.count} {unit}{'s' * (self.count != 1)} in {self.together:.1f} s "
            f"({rate:.2f} a second), side by side: {told}; {slowest} sets the pace"
        )


class Progress:
    """How far a run has come.

    Args:
        total: items in all; None if nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self._start = perf_counter()

    def tell(self, done: int) -> str:
        """``"12/340, 0:01:20 left"``, when this many are done."""
        if self.total is None or not 0 < done <= self.total:
            return str(done)
        seconds = (perf_counter() - self._start) / done * (self.total - done)
        left = f", {timedelta(seconds=round(seconds))} left" if done < self.total else ""
        return f"{done}/{self.total}{left}"


def run_side_by_side(
    read: Iterable[Item],
    compute: Callable[[Item], Result],
    write: Callable[[Result], None],
    *,
    capacity: int = 4,
    is_live: bool = False,
) -> StageTimes:
    """How long the stages were busy, when all items have gone through them, in their order.

    ``compute`` runs in the calling thread, the others in one of their own each. The first error of
    any stage, or Ctrl-C, ends all of them and is raised here; what was computed is still written.

    Args:
        read: the items; a generator is closed in its thread at the end.
        compute: makes a result of an item.
        write: gets rid of a result.
        capacity: items that may wait before each stage.
        is_live: leave out items that come faster than they are computed; Ctrl-C is the end.
    """
    start = perf_counter()
    reader = _Reader(read, capacity, is_live)
    timed_compute, timed_write = _Timed(compute), _Timed(write)
    writer = _Writer(timed_write, capacity)
    reader.start()
    writer.start()
    try:
        for item in reader.items():
            writer.queue.put(timed_compute(item))
            if writer.error is not None:
                break
    except KeyboardInterrupt:
        if not is_live:
            raise
    finally:
        reader.stopping.set()
        writer.queue.put(_END)
        writer.join()
        reader.join(_JOIN_SECONDS)
    if error := writer.error or reader.error:
        raise error
    return StageTimes(
        reading=reader.seconds,
        inference=timed_compute.seconds,
        writing=timed_write.seconds,
        together=perf_counter() - start,
        count=timed_compute.count,
    )


class _Timed(Generic[Item, Result]):
    """Calls a function, and notes how often and how many seconds that took."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self.seconds = 0.0
        self.count = 0
        self._function = function

    def __call__(self, item: Item) -> Result:
        start = perf_counter()
        try:
            return self._function(item)
        finally:
            self.seconds += perf_counter() - start
            self.count += 1


class _Reader(threading.Thread, Generic[Item]):
    """Reads ahead until told to stop."""

    def __init__(self, source: Iterable[Item], capacity: int, is_live: bool) -> None:
        super().__init__(name="reading", daemon=True)
        self.seconds = 0.0
        self.error: BaseException | None = None
        self.stopping = threading.Event()
        self._source = source
        self._queue: Queue[Any] = Queue(1 if is_live else capacity)
        self._is_live = is_live

    def items(self) -> Iterator[Item]:
        """Items as they come, in another thread."""
        while (item := self._queue.get()) is not _END:
            yield item

    def run(self) -> None:
        iterator = iter(self._source)
        try:
            while not self.stopping.is_set():
                start = perf_counter()
                item = next(iterator, _END)
                self.seconds += perf_counter() - start
                if item is _END:
                    break
                self._put(item)
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            self.error = error
        finally:
            if isinstance(iterator, Iterator) and hasattr(iterator, "close"):
                iterator.close()
            self._is_live = False
            self._put(_END)

    def _put(self, item: object) -> None:
        if self._is_live and self._queue.full():
            self._drop()
        while not self.stopping.is_set() and not self._has_put(item):
            pass

    def _has_put(self, item: object) -> bool:
        try:
            self._queue.put(item, timeout=_POLL_SECONDS)
        except Full:
            return False
        return True

    def _drop(self) -> None:
        """Leave out the oldest item, unless it has just been taken."""
        try:
            self._queue.get_nowait()
        except Empty:
            return


class _Writer(threading.Thread, Generic[Result]):
    """Writes what it is given; after an error it only empties its queue, so that nobody waits."""

    def __init__(self, write: Callable[[Result], None], capacity: int) -> None:
        super().__init__(name="writing", daemon=True)
        self.error: BaseException | None = None
        self.queue: Queue[Any] = Queue(capacity)
        self._write = write

    def run(self) -> None:
        while (result := self.queue.get()) is not _END:
            if self.error is not None:
                continue
            try:
                self._write(result)
            except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
                self.error = error
