"""Times of work on a device, which goes on after the call has returned."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

Work = Callable[[], object]

TURN_SECONDS = 0.02
"""Short work is called as often as fits into this, so that starting it counts little."""
MOST_CALLS = 200


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: turns of each contender.
        seconds: after so long a comparison ends, once everyone had a turn.
    """

    rounds: int
    seconds: float


FULL = Effort(rounds=15, seconds=4.0)
DRY = Effort(rounds=1, seconds=0.0)


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(work: Work, calls: int, device: torch.device) -> float:
    """Time of one call: between two events on the device, or by the clock of the CPU."""
    wait_for(device)
    if device.type != "cuda":
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        return 1000 * (time.perf_counter() - begin) / calls
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(calls):
        work()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / calls


def medians(contenders: Sequence[Work], device: torch.device, effort: Effort) -> list[float]:
    """Median milliseconds of each, taking turns after two calls that warm up."""
    calls = []
    for work in contenders:
        work()
        once = milliseconds(work, 1, device)
        calls.append(max(1, min(MOST_CALLS, int(1000 * TURN_SECONDS / max(once, 1e-3)))))
    begin, turns = time.perf_counter(), []
    while len(turns) < effort.rounds:
        pairs = zip(contenders, calls, strict=True)
        turns.append([milliseconds(work, count, device) for work, count in pairs])
        if time.perf_counter() - begin > effort.seconds:
            break
    return [statistics.median(column) for column in zip(*turns, strict=True)]
