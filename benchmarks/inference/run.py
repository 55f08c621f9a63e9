"""Time whole models: ``python -m benchmarks inference``; see docs/performance.md.

From JPEG files to COCO's run lengths of 50 masks a photo, stage by stage, in every inference mode,
taking turns in one process; the same beside the files that `centermask export` makes; the dense
part alone, beside other programs and the ceiling of matrix products; and peak memory. Weights are
random with norms that fit, and about 1000 predictions of a photo exceed the threshold: what is
found means nothing, the work is that of a trained model.
"""

import argparse
import itertools
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.inference import measure, zoo
from benchmarks.inference.contenders import SUBJECTS
from benchmarks.inference.report import page
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.modes.compiled import modes_without_compiling
from maskrcnn_benchmark.timing.machine import circumstances, load, set_threads
from maskrcnn_benchmark.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "tests" / "golden" / "images"
PAGE = ROOT / "docs" / "performance.md"
MADE = re.compile(r"(<!-- made by python -m benchmarks inference -->\n).*(<!-- end -->)", re.DOTALL)
PARTS = ("whole", "exports", "dense", "memory")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    modes, known = modes_without_compiling(), ", ".join(INFERENCE_MODES)
    parser.add_argument("--models", nargs="*", default=list(SUBJECTS), choices=SUBJECTS)
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--modes", nargs="*", default=modes, help=f"of: {known}")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default: 9)")
    parser.add_argument("--threads", type=int, nargs="*", default=[2], help="default: 2")
    parser.add_argument("--batch", type=int, nargs="*", default=[1], help="photos at once")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="a folder of JPEG files")
    results = ROOT / "output" / "benchmarks" / "inference.json"
    parser.add_argument("--json", type=Path, default=results, help=f"default: {results}")
    parser.add_argument("--zoo", action="store_true", help="compare systems instead: --zoo --help")
    parser.add_argument("--write", action="store_true", help="put all of --json into docs/")
    options = parser.parse_args()
    unknown = sorted(set(options.modes) - set(INFERENCE_MODES))
    if unknown:
        parser.error(f"--modes: unknown {', '.join(unknown)}; known: {known}")
    return options


def _measure(key: str, part: str, plan: measure.Plan) -> Mapping[str, Any]:
    if part == "whole":
        return measure.whole(key, plan)
    if part == "exports":
        return measure.exports(key, plan)
    if part == "dense":
        return measure.dense(key, plan)
    return {mode: measure.memory(key, mode, plan.photos[0]) for mode in plan.modes}


def main() -> None:
    """Measure, print, and keep the numbers; with --write, also in docs/."""
    if "--zoo" in sys.argv:
        zoo.main()
        return
    options = _parse()
    files = sorted(options.photos.glob("*.jpg"))
    kept = json.loads(options.json.read_text()) if options.json.exists() else {}
    for key, part, batch, threads in itertools.product(
        options.models, options.parts, options.batch, options.threads
    ):
        set_threads(threads)
        photos = [files[number % len(files)] for number in range(batch)]
        plan = measure.Plan(photos, options.modes, options.rounds, threads)
        entry = {"model": key, "part": part, "batch": batch, "load": load()}
        entry |= {"threads": threads, "machine": circumstances()}
        entry["result"] = _measure(key, part, plan)
        print(page({key: entry}), "\n", flush=True)
        kept[f"{key} {part} batch {batch} threads {threads}"] = entry
        write_json(options.json, kept, indent=2)
    if options.write:
        _write_page(page(kept))


def _write_page(text: str) -> None:
    written, found = MADE.subn(lambda made: f"{made[1]}\n{text}\n\n{made[2]}", PAGE.read_text())
    if not found:
        raise SystemExit(f"{PAGE} has lost the marks that the numbers go between")
    PAGE.write_text(written)
