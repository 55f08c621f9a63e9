"""The measurements of the tables."""

import ctypes
import gc
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from benchmarks.inference.contenders import DETECTIONS, SUBJECTS, make_subject
from benchmarks.inference.exports import make_exports
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.timing.contenders import Contender, Inputs
from maskrcnn_benchmark.timing.peers import Work, dense_peers, whole_peers
from maskrcnn_benchmark.timing.turns import Result, time_dense, time_whole
from maskrcnn_benchmark.utils.processor import lasting_memory, prepare_process

LARGE_WH = (4000, 3000)
"""A photo of twelve megapixels."""


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


def whole(key: str, plan: Plan) -> Result:
    """JPEG to run lengths: every mode, and torchvision for comparison."""
    cfg, model = make_subject(SUBJECTS[key].config, plan.photos)
    detectors: dict[str, Any] = {
        mode: Contender.from_config(cfg, model, mode) for mode in plan.modes
    }
    subject = SUBJECTS[key]
    work = Work(subject.short_side, subject.long_side, DETECTIONS)
    detectors |= whole_peers(work, plan.photos)
    return time_whole(detectors, plan.photos, plan.rounds)


def exports(key: str, plan: Plan) -> Result:
    """JPEG to run lengths: every mode, and every format that the model can be exported to here."""
    cfg, model = make_subject(SUBJECTS[key].config, plan.photos)
    detectors: dict[str, Any] = {
        mode: Contender.from_config(cfg, model, mode) for mode in plan.modes
    }
    with tempfile.TemporaryDirectory() as folder:
        detectors |= make_exports(cfg, model, plan.photos, Path(folder))
        return time_whole(detectors, plan.photos, plan.rounds)


def dense(key: str, plan: Plan) -> Result:
    """Backbone, pyramid and head alone: every mode, other programs, and the ceiling."""
    cfg, model = make_subject(SUBJECTS[key].config, plan.photos)
    images = Inputs.from_config(cfg, "pil").of_files(plan.photos)
    contenders = {mode: Contender.from_config(cfg, model, mode) for mode in plan.modes}
    with torch.no_grad():
        others = dense_peers(model, images, plan.threads)
    return time_dense(contenders, others, images, plan.rounds)


def memory(key: str, mode: str, photo: Path) -> Result:
    """Peak MB beyond the loaded model: a large photo with 100 masks, and its dense part alone.

    Each in a process of its own, which does it for the first time.
    """
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
    # As the commands do.
    prepare_process()
    with lasting_memory():
        cfg, model = make_subject(SUBJECTS[key].config, [photo], detections=100)
        detector = Contender.from_config(cfg, model, mode)
    if is_whole:
        return peak_of(lambda: detector([photo]))
    images = detector.inputs([read_image(photo)]).tensors
    with torch.no_grad():
        return peak_of(lambda: detector.dense(images))


def peak_of(work: Callable[[], object]) -> float:
    """MB that this process had at its peak during the work, beyond what it needed before."""
    # What making the model left to malloc would hide the first part of what the work takes.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return round((_status("VmHWM") - before) / 1024, 1)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
