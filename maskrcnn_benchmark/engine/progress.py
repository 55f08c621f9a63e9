"""How a training is going: log lines, a progress bar, ``metrics.jsonl``."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from maskrcnn_benchmark.engine.hooks import Hook, StepRecord, Training
from maskrcnn_benchmark.utils.comm import is_main_process
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.utils.logger import progress_extra
from maskrcnn_benchmark.utils.metric_logger import MetricLogger

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
_MEBIBYTE = 2**20


def format_seconds(seconds: float) -> str:
    """A duration as ``[D days, ]H:MM:SS``."""
    return str(datetime.timedelta(seconds=int(seconds)))


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use so far, in MiB: of the CUDA device, or of this process on the CPU.

    0 on a system that does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEBIBYTE
    if sys.platform == "win32":
        return 0.0
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / _MEBIBYTE if sys.platform == "darwin" else peak / 1024


def make_progress_bar(total: int, initial: int = 0, desc: str = "") -> tqdm[Any]:
    """A bar on the main process if standard error is a terminal, else one that shows nothing."""
    shown = is_main_process() and sys.stderr.isatty()
    return tqdm(total=total, initial=initial, desc=desc, disable=not shown, dynamic_ncols=True)


class MetricsFile:
    """One JSON object a line, for programs that draw curves; the file is made when missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, iteration: int) -> None:
        """Drop what was written after ``iteration``, and a line that a killed process left half."""
        if not self.path.exists():
            return
        kept = [
            line
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            if (of_line := _iteration_of(line)) is not None and of_line <= iteration
        ]
        with atomic_write(self.path, "w") as file:
            file.writelines(f"{line}\n" for line in kept)

    def append(self, entry: Mapping[str, float]) -> None:
        """Add ``entry`` as one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")


def _iteration_of(line: str) -> int | None:
    """Iteration of a line of the metrics file, None if the line is broken."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return None
    iteration = entry.get("iteration") if isinstance(entry, dict) else None
    return iteration if isinstance(iteration, int) else None


class ProgressHook(Hook):
    """Tells how training goes, on the main process.

    Every ``period`` iterations, and at the first and the last one: a log line with ETA, the losses
    (median of the newest 20, mean of all since the start of this process), times, lr and peak
    memory; and a line of ``metrics.jsonl`` with the losses of exactly that iteration, so that a
    resumed run writes what an uninterrupted one would have written.

    Args:
        period: iterations between two lines; 0 for the first and last iteration only.
        output_dir: folder of ``metrics.jsonl``; None writes none.
    """

    def __init__(self, *, period: int, output_dir: Path | None) -> None:
        self._period = period
        self._metrics = MetricsFile(output_dir / METRICS_FILE) if output_dir else None
        self._meters = MetricLogger(delimiter="  ")
        self._bar: tqdm[Any] | None = None

    def before_train(self, trainer: Training) -> None:
        """Show the bar, and drop metrics that this run is going to write again."""
        if not is_main_process():
            return
        if self._metrics is not None:
            self._metrics.rewind(trainer.start_iter)
        self._bar = make_progress_bar(trainer.max_iter, trainer.start_iter, "training")

    def after_step(self, trainer: Training, record: StepRecord) -> None:
        """Move the bar on; write a line when it is time."""
        if not is_main_process():
            return
        self._meters.update(**record.losses, time=record.time, data=record.data_time)
        if self._bar is not None:
            self._bar.update()
            loss = self._meters.loss
            self._bar.set_postfix_str(f"loss {loss.median:.4f} lr {record.lr:.6f}", refresh=False)
        is_due = self._period > 0 and record.iteration % self._period == 0
        if is_due or record.iteration in (1, trainer.max_iter):
            self._write_line(trainer, record)

    def _write_line(self, trainer: Training, record: StepRecord) -> None:
        eta = self._meters.time.global_avg * (trainer.max_iter - record.iteration)
        parts = (
            f"eta: {format_seconds(eta)}",
            f"iter: {record.iteration}",
            str(self._meters),
            f"lr: {record.lr:.6f}",
            f"max mem: {peak_memory_mb(trainer.device):.0f}",
        )
        logger.info(self._meters.delimiter.join(parts), extra=progress_extra())
        if self._metrics is None:
            return
        entry = {"iteration": record.iteration, **record.losses, "lr": record.lr}
        if record.grad_norm is not None:
            entry["grad_norm"] = record.grad_norm
        times = {
            "time": self._meters.time.avg,
            "data_time": self._meters.data.avg,
            "eta_seconds": eta,
        }
        self._metrics.append(entry | times)

    def close(self, trainer: Training) -> None:  # noqa: ARG002  # the signature of every hook
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
