"""Time and memory of reading annotations of the size of COCO's training split.

``python -m benchmarks annotations`` writes a synthetic file once and reads it in processes of their
own: as ``COCODataset``, without and with workers of a loader, and with pycocotools.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from torch.utils.data import DataLoader, Dataset, Subset

from maskrcnn_benchmark.data.datasets import COCODataset

_NUM_IMAGES = 118_287
_NUM_INSTANCES = 860_001
_FEWEST_POINTS, _MOST_POINTS = 8, 40
_WIDTH, _HEIGHT = 640, 480
_NUM_CATEGORIES = 80
_NUM_OUTLINES = 5003
_SAMPLES_A_LOOK = 500
_TARGETS = 20_000
_COLUMNS = {
    "seconds": "processor time, s",
    "start": "at the start, MB",
    "peak": "peak, MB",
    "kept": "kept, MB",
    "worker": "growth of a worker, MB",
}


def _outline_and_box(rng: np.random.Generator) -> str:
    """Entries of a random outline with two decimals and of its box, as JSON."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(_FEWEST_POINTS, _MOST_POINTS + 1)))
    radii = rng.uniform(5, 60, (len(angles), 1))
    center = rng.uniform(60, (_WIDTH - 60, _HEIGHT - 60))
    corners = center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    first, last = corners.min(axis=0), corners.max(axis=0)
    box = [*first.round(2).tolist(), *(last - first).round(2).tolist()]
    area = round(float((last - first).prod() / 2), 4)
    outline = [corners.round(2).ravel().tolist()]
    entries = {"segmentation": outline, "bbox": box, "area": area, "iscrowd": 0}
    return json.dumps(entries, separators=(",", ":"))[1:-1]


def write_annotations(
    path: Path, num_images: int = _NUM_IMAGES, num_instances: int = _NUM_INSTANCES
) -> None:
    """Write a file in COCO's format; its instances have a few thousand outlines in turn."""
    rng = np.random.default_rng(0)
    ids = range(9, 9 + 4 * num_images, 4)
    images = [
        {"id": i, "file_name": f"{i:012d}.jpg", "height": _HEIGHT, "width": _WIDTH} for i in ids
    ]
    categories = [{"id": i, "name": f"thing {i}"} for i in range(1, 1 + _NUM_CATEGORIES)]
    outlines = [_outline_and_box(rng) for _ in range(_NUM_OUTLINES)]
    owners = rng.integers(num_images, size=num_instances).tolist()
    with open(path, "w", encoding="utf-8") as file:
        head = json.dumps({"images": images, "categories": categories})
        file.write(f'{head[:-1]}, "annotations": [')
        for number, owner in enumerate(owners):
            label = number % _NUM_CATEGORIES + 1
            numbers = f'"id": {number + 1}, "image_id": {ids[owner]}, "category_id": {label}'
            entry = f"{{{numbers}, {outlines[number % _NUM_OUTLINES]}}}"
            file.write(f", {entry}" if number else entry)
        file.write("]}")


class _Memory(Dataset[tuple[int, float]]):
    """Targets without their images; a sample says which process made it and what it owns, MB."""

    def __init__(self, dataset: COCODataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, float]:
        self.dataset.get_target(index)
        return os.getpid(), _own_megabytes() if index % _SAMPLES_A_LOOK == 0 else 0.0


def _own_megabytes() -> float:
    """What this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1e3


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def _read(reader: str, ann_file: str) -> Any:
    if reader == "COCODataset":
        return COCODataset(ann_file, os.path.dirname(ann_file), True)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(ann_file)


def _growth_of_workers(dataset: COCODataset) -> float:
    """By how much a worker's own memory grows over its targets: MB, of the one that grows most."""
    torch.set_num_threads(1)
    some = Subset(_Memory(dataset), range(min(_TARGETS, len(dataset))))
    loader = DataLoader(some, batch_size=64, num_workers=2, collate_fn=list)
    looks: dict[int, list[float]] = {}
    for process, own in chain.from_iterable(loader):
        looks.setdefault(process, []).extend([own] if own else [])
    return max(max(values) - values[0] for values in looks.values())


def measure(reader: str, ann_file: str) -> dict[str, float]:
    """Seconds and megabytes of reading a file in this process."""
    start = _resident_megabytes()
    begin = time.process_time()  # which other work on the machine does not stretch
    kept = _read(reader, ann_file)
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 * 1.024
    gc.collect()
    numbers = {"seconds": seconds, "start": start, "peak": peak, "kept": _resident_megabytes()}
    if isinstance(kept, COCODataset):
        numbers["worker"] = _growth_of_workers(kept)
    return numbers


def main() -> None:
    """Write the file if it is not there, and print the medians as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=Path(tempfile.gettempdir()) / "many.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", help="read once in this process and print JSON")
    options = parser.parse_args()
    if options.reader:
        print(json.dumps(measure(options.reader, str(options.file))))
        return
    if not options.file.exists():
        write_annotations(options.file)
    print(f"{options.file.stat().st_size / 1e6:.0f} MB, load {os.getloadavg()[0]:.1f}")
    print("| | " + " | ".join(_COLUMNS.values()) + " |")
    print("|---" * (1 + len(_COLUMNS)) + "|")
    for reader in ("COCODataset", "pycocotools"):
        command = [sys.executable, "-m", "benchmarks.annotations", "--file", str(options.file)]
        runs = [
            json.loads(subprocess.check_output([*command, "--reader", reader]))
            for _ in range(options.rounds)
        ]
        cells = [
            f"{statistics.median(run[key] for run in runs):{'.1f' if key == 'seconds' else '.0f'}}"
            if key in runs[0]
            else ""
            for key in _COLUMNS
        ]
        print(f"| {reader} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
