"""The loop over photos that have no record yet."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from maskrcnn_benchmark.engine.progress import format_seconds, make_progress_bar
from maskrcnn_benchmark.prediction.bulk.result_files import Record, ResultFiles, opened
from maskrcnn_benchmark.prediction.bulk.sources import BulkPhoto
from maskrcnn_benchmark.utils.logger import progress_extra

logger = logging.getLogger(__name__)

Work = Callable[[Sequence[BulkPhoto]], Iterable[Record]]
"""Makes one record of each photo, in any order."""

LOG_SECONDS: Final = 30.0
"""Between two log lines."""
_MAX_TOLD: Final = 20
"""Photos with errors that the log names, each."""


class Outcome(NamedTuple):
    """What a run did.

    Attributes:
        done: photos that have a record now, of an earlier run, too.
        faulty: those of this run whose record is an error.
    """

    done: int
    faulty: int


def run_bulk(photos: Sequence[BulkPhoto], work: Work, files: ResultFiles) -> Outcome:
    """Give every photo a record that has none yet.

    Args:
        photos: all that are the work of this process.
        work: makes records.
        files: where they go.

    Raises:
        ConfigError: the files hold something else, or another process is writing them.
    """
    finished = files.finished()
    left = [photo for photo in photos if photo.key not in finished]
    former = len(photos) - len(left)
    if former:
        logger.info("%d of %d photos have their results already", former, len(photos))
    faulty = 0
    if not left:
        return Outcome(former, faulty)
    with opened(files):
        for record in _shown(work(left), former, len(photos)):
            files.add(record)
            if record["error"] is not None:
                faulty += 1
                _tell(record, faulty)
    return Outcome(len(photos), faulty)


def _tell(record: Record, count: int) -> None:
    if count <= _MAX_TOLD:
        logger.error("%s: %s", record["file_name"], record["error"])
    if count == _MAX_TOLD:
        logger.error("Further photos with errors are only written down")


def _shown(records: Iterable[Record], former: int, total: int) -> Iterator[Record]:
    """The records, with a progress bar on a terminal and log lines elsewhere."""
    pace = Pace(former, total, time.monotonic)
    with make_progress_bar(total, former, "photos") as bar:
        for record in records:
            yield record
            bar.update()
            line = pace.step()
            if line:
                logger.info("%s", line, extra=progress_extra())


class Pace:
    """How fast work goes, and when it will be done.

    Args:
        done: what was done before, which says nothing about the pace.
        total: of everything.
        clock: seconds.
        period: seconds between two lines.
    """

    def __init__(
        self, done: int, total: int, clock: Callable[[], float], period: float = LOG_SECONDS
    ) -> None:
        self._former, self._done, self._total = done, done, total
        self._clock = clock
        self._period = period
        self._begin = self._told = clock()

    def step(self) -> str:
        """One more is done; a line to show if it is time for one, else ""."""
        self._done += 1
        now = self._clock()
        if now - self._told < self._period and self._done < self._total:
            return ""
        self._told = now
        rate = (self._done - self._former) / max(now - self._begin, 1e-9)
        eta = format_seconds((self._total - self._done) / rate)
        return f"{self._done} of {self._total} photos, {rate:.1f} a second, eta {eta}"
