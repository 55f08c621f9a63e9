"""Times of things that are compared, and what this machine could do at best."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

Work = Callable[[], object]

MOST_SECONDS = 10.0
"""A comparison ends after this, once it has FEWEST_ROUNDS."""
FEWEST_ROUNDS = 3
TURN_SECONDS = 0.05
"""Short work is called as often as fits into this, so that caches are warm for both alike."""


class Roofline(NamedTuple):
    """What the machine can do with some threads: bytes and floating-point operations a second."""

    bytes: float
    flops: float

    def milliseconds(self, num_bytes: float, num_flops: float) -> float:
        """Least time for so much memory traffic and so much arithmetic."""
        return 1000 * max(num_bytes / self.bytes, num_flops / self.flops)


def _seconds(work: Work, calls: int, threads: int) -> float:
    # With one thread the processor time, which other work on the machine does not stretch.
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    for _ in range(calls):
        work()
    return (clock() - start) / calls


def medians(contenders: Sequence[Work], rounds: int, threads: int) -> list[float]:
    """Median milliseconds of each, taking turns so that a busy machine slows all alike."""
    for work in contenders:
        work()
    calls = [max(1, int(TURN_SECONDS / _seconds(work, 2, threads))) for work in contenders]
    begin, times = time.perf_counter(), []
    while len(times) < rounds:
        pairs = zip(contenders, calls, strict=True)
        times.append([_seconds(work, count, threads) for work, count in pairs])
        if len(times) >= FEWEST_ROUNDS and time.perf_counter() - begin > MOST_SECONDS:
            break
    return [1000 * statistics.median(column) for column in zip(*times, strict=True)]


def roofline(threads: int) -> Roofline:
    """Measured rates: of copying 64 MB (read and written), and of a matrix product."""
    source = torch.ones(2**24)
    target = torch.empty_like(source)
    left = torch.rand(768, 768)
    copy, product = medians([lambda: target.copy_(source), lambda: left @ left], 15, threads)
    return Roofline(
        bytes=2 * source.nbytes / (copy / 1000), flops=2 * len(left) ** 3 / (product / 1000)
    )
