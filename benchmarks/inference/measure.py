"""Taking turns, and what comes of it."""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference.contenders import (
    SUBJECTS,
    Inputs,
    OurDetector,
    make_subject,
)
from benchmarks.inference.peers import dense_peers, whole_peers
from maskrcnn_benchmark.data.image_io import read_image

GEMM_SIDE = 2048
LARGE_WH = (4000, 3000)
"""A photo of twelve megapixels."""
Result = dict[str, Any]


class Plan(NamedTuple):
    """How to measure.

    Attributes:
        photos: files, as many as a batch has.
        modes: names in INFERENCE_MODES, the first being what others are compared with.
        rounds: turns of each.
        threads: of PyTorch and of others.
    """

    photos: Sequence[Path]
    modes: Sequence[str]
    rounds: int
    threads: int


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


def whole(key: str, plan: Plan) -> Result:
    """JPEG to run lengths: every mode, and torchvision for comparison."""
    cfg, model = make_subject(SUBJECTS[key], plan.photos)
    detectors: dict[str, Any] = {mode: OurDetector(cfg, model, mode) for mode in plan.modes}
    detectors |= whole_peers(SUBJECTS[key], plan.photos)
    stages: dict[str, dict[str, list[float]]] = {name: {} for name in detectors}
    found: dict[str, list[int]] = {}

    def turn(name: str) -> None:
        found[name] = [len(masks) for masks in detectors[name](plan.photos)]
        for stage, seconds in detectors[name].times.seconds.items():
            stages[name].setdefault(stage, []).append(seconds)

    works = {name: (lambda name=name: turn(name)) for name in detectors}
    times = take_turns(works, plan.rounds)
    return {
        name: {
            **spread(times[name]),
            "masks": found[name],
            "stages": {each: spread(seconds[1:]) for each, seconds in stages[name].items()},
        }
        for name in detectors
    }


def dense(key: str, plan: Plan) -> Result:
    """Backbone, pyramid and head alone: every mode, other programs, and the ceiling."""
    cfg, model = make_subject(SUBJECTS[key], plan.photos)
    images = Inputs(cfg, "pil")(read_image(path) for path in plan.photos).tensors
    detectors = {mode: OurDetector(cfg, model, mode) for mode in plan.modes}
    works: dict[str, Callable[[], object]] = {
        mode: (lambda one=one: one.dense(images)) for mode, one in detectors.items()
    }
    with torch.no_grad():
        works |= dense_peers(model, images, plan.threads)
        for dtype in (torch.float32, torch.bfloat16):
            works[f"ceiling {str(dtype)[6:]}"] = _product(dtype)
        times = take_turns(works, plan.rounds)
        flops = _flops(detectors[plan.modes[0]], images)
    results = {name: spread(seconds) for name, seconds in times.items()}
    for name in results:
        amount = 2 * GEMM_SIDE**3 if name.startswith("ceiling") else flops
        results[name]["gflops"] = round(amount / results[name]["median"] / 1e6)
    return {"input": list(images.shape), "gflop": round(flops / 1e9, 1), "times": results}


def _product(dtype: torch.dtype) -> Callable[[], object]:
    """A product of two matrices, as a convolution: twice as fast as ``@`` on some machines."""
    maps = torch.rand(1, GEMM_SIDE, 1, GEMM_SIDE).to(dtype)
    weight = torch.rand(GEMM_SIDE, GEMM_SIDE, 1, 1).to(dtype)
    maps, weight = (each.to(memory_format=torch.channels_last) for each in (maps, weight))
    return lambda: torch.conv2d(maps, weight)


def _flops(detector: OurDetector, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        detector.dense(images)
    return int(counter.get_total_flops())


def memory(key: str, mode: str, photo: Path) -> Result:
    """Peak MB beyond the loaded model: a large photo with 100 masks, and its dense part alone."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.jpg"
        with Image.open(photo) as image:
            image.convert("RGB").resize(LARGE_WH).save(large, quality=90)
        peaks = {}
        for part in ("whole", "network"):
            with context.Pool(1) as pool:
                peaks[part] = pool.apply(_peak, (key, mode, large, part == "whole"))
    return {**peaks, "ratio": round(peaks["whole"] / peaks["network"], 3)}


def _peak(key: str, mode: str, photo: Path, is_whole: bool) -> float:
    cfg, model = make_subject(SUBJECTS[key], [photo], detections=100)
    detector = OurDetector(cfg, model, mode)
    if is_whole:
        return _peak_of(lambda: detector([photo]))
    images = detector.inputs([read_image(photo)]).tensors
    with torch.no_grad():
        return _peak_of(lambda: detector.dense(images))


def _peak_of(work: Callable[[], object]) -> float:
    """MB that this process had at its peak during the work, beyond what it had before."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return round((_status("VmHWM") - before) / 1024, 1)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def load() -> str:
    """How busy the machine is."""
    return f"load average {os.getloadavg()[0]:.1f}"
