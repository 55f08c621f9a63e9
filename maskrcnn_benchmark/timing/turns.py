"""Contenders take turns, and what comes of it."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from maskrcnn_benchmark.timing.contenders import Contender, Photos
from maskrcnn_benchmark.timing.stages import StageTimes

GEMM_SIDE: Final = 2048
CEILING: Final = "ceiling"
Result = dict[str, Any]


class Detector(Protocol):
    """What goes from files to run lengths and tells where its time went."""

    times: StageTimes

    def __call__(self, paths: Photos) -> Sequence[Any]:
        """What was found on each photo."""


def spread(times: Sequence[float]) -> Result:
    """Median and 90th percentile in ms, rounded."""
    ordered = sorted(times)
    last = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    return {"median": round(1000 * statistics.median(times), 2), "p90": round(1000 * last, 2)}


def take_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, every one having a turn in each round after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def time_whole(detectors: Mapping[str, Detector], photos: Photos, rounds: int) -> Result:
    """Median, 90th percentile, stages and numbers of objects of each, from files to run lengths."""
    stages: dict[str, dict[str, list[float]]] = {name: {} for name in detectors}
    found: dict[str, list[int]] = {}

    def turn(name: str) -> None:
        found[name] = [len(objects) for objects in detectors[name](photos)]
        for stage, seconds in detectors[name].times.seconds.items():
            stages[name].setdefault(stage, []).append(seconds)

    def work_of(name: str) -> Callable[[], None]:
        return lambda: turn(name)

    times = take_turns({name: work_of(name) for name in detectors}, rounds)
    return {
        name: {
            **spread(times[name]),
            "masks": found[name],
            "stages": {each: spread(seconds[1:]) for each, seconds in stages[name].items()},
        }
        for name in detectors
    }


def time_dense(
    contenders: Mapping[str, Contender],
    others: Mapping[str, Callable[[], object]],
    images: Tensor,
    rounds: int,
) -> Result:
    """Median and 90th percentile of backbone, pyramid and head alone, and of the ceiling.

    Args:
        contenders: ours by mode, all of which have parts.
        others: what computes the same.
        images: (N, 3, H, W).
        rounds: turns of each.
    """
    works: dict[str, Callable[[], object]] = {
        name: _dense_of(contender, images) for name, contender in contenders.items()
    }
    works |= others
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            works[f"{CEILING} {str(dtype)[6:]}"] = matrix_product(dtype)
        times = take_turns(works, rounds)
        flops = _flops(next(iter(contenders.values())), images)
    results = {name: spread(seconds) for name, seconds in times.items()}
    for name in results:
        amount = 2 * GEMM_SIDE**3 if name.startswith(CEILING) else flops
        results[name]["gflops"] = round(amount / results[name]["median"] / 1e6)
    return {"input": list(images.shape), "gflop": round(flops / 1e9, 1), "times": results}


def _dense_of(contender: Contender, images: Tensor) -> Callable[[], object]:
    return lambda: contender.dense(images)


def matrix_product(dtype: torch.dtype) -> Callable[[], object]:
    """A product of two matrices, as a convolution: twice as fast as ``@`` on some machines."""
    maps = torch.rand(1, GEMM_SIDE, 1, GEMM_SIDE).to(dtype)
    weight = torch.rand(GEMM_SIDE, GEMM_SIDE, 1, 1).to(dtype)
    maps, weight = (each.to(memory_format=torch.channels_last) for each in (maps, weight))
    return lambda: torch.conv2d(maps, weight)


def _flops(contender: Contender, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        contender.dense(images)
    return int(counter.get_total_flops())
