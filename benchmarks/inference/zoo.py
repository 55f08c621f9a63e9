"""Time the systems of the zoo side by side: ``python -m benchmarks inference --zoo``.

Every system of MODEL_ZOO.json (rows with the key "system") goes from the bytes of a JPEG file to
the run lengths of 100 masks, at its own test size, with random weights: what it finds means
nothing, the work is that of a trained model. Systems are taken some at a time; those and their
modes take turns in one process. Numbers are written after each group, and the next call goes on
where this one ended.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.inference.contenders import make_subject
from benchmarks.inference.systems import ROOT, System, choose, read_systems
from docs import comparison, generate
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.progress import format_seconds, make_progress_bar
from maskrcnn_benchmark.timing.contenders import Contender, Inputs
from maskrcnn_benchmark.timing.machine import circumstances, load, set_threads
from maskrcnn_benchmark.timing.tables import table_head, table_row
from maskrcnn_benchmark.timing.turns import matrix_product, spread, take_turns, time_whole
from maskrcnn_benchmark.utils.files import write_json

DETECTIONS = 100
PHOTO = ROOT / "tests" / "golden" / "images" / "000000005001.jpg"
RESULTS = ROOT / "output" / "benchmarks" / "zoo.json"

Entry = dict[str, Any]


class Plan(NamedTuple):
    """How to measure.

    Attributes:
        photo: the JPEG file.
        modes: names in INFERENCE_MODES.
        rounds: turns of each.
        threads: of PyTorch and of others.
    """

    photo: Path
    modes: Sequence[str]
    rounds: int
    threads: int

    @property
    def conditions(self) -> Entry:
        """What numbers must have in common to stand in one table; ``machine`` without the date."""
        machine = circumstances().partition(", ")[2]
        return {"photo": self.photo.name, "rounds": self.rounds, "machine": machine,
                "threads": self.threads, "modes": list(self.modes)}  # fmt: skip


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks inference --zoo", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--zoo", action="store_true", required=True, help="this")
    add("--only", nargs="+", default=[], metavar="NAME", help="systems with this in their name")
    add("--modes", nargs="+", default=["plain", "fast", "bf16"], help="default: plain fast bf16")
    add("--rounds", type=int, default=5, metavar="N", help="turns of each (default: 5)")
    add("--threads", type=int, default=2, metavar="N", help="default: 2")
    add("--together", type=int, default=3, metavar="N", help="systems in a group (default: 3)")
    add("--minutes", type=float, metavar="N", help="begin no group that would end after so long")
    add("--again", action="store_true", help="measure what is in --json, too")
    add("--photo", type=Path, default=PHOTO, help="a JPEG file")
    add("--json", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    add("--write", action="store_true", help="put all of --json into docs/")
    args = parser.parse_args(words)
    unknown = sorted(set(args.modes) - set(INFERENCE_MODES))
    if unknown:
        parser.error(f"--modes: unknown {', '.join(unknown)}; known: {', '.join(INFERENCE_MODES)}")
    if min(args.rounds, args.threads, args.together) < 1:
        parser.error("--rounds, --threads, --together: expected positive numbers")
    if not args.photo.is_file():
        parser.error(f"--photo: no file {args.photo}")
    try:
        args.systems = choose(read_systems(), args.only)
    except ValueError as error:
        parser.error(str(error))
    return args


def missing(
    systems: Sequence[System], kept: Mapping[str, Entry], conditions: Mapping[str, Any]
) -> list[System]:
    """The systems with settings that were not measured under these conditions yet."""
    return [
        system
        for system in systems
        if system.config and kept.get(system.name, {}).get("conditions") != conditions
    ]


def in_time(
    systems: Sequence[System], together: int, seconds: float | None
) -> Iterator[tuple[System, ...]]:
    """Groups of systems, as long as one more is likely to end in so many seconds from the start.

    A group is taken to be as long as the longest before it.
    """
    start = time.monotonic()
    longest = 0.0
    for first in range(0, len(systems), together):
        before = time.monotonic()
        if seconds is not None and before - start + longest > seconds:
            return
        yield tuple(systems[first : first + together])
        longest = max(longest, time.monotonic() - before)


def measure_group(systems: Sequence[System], plan: Plan) -> dict[str, Entry]:
    """The numbers of systems that take turns, by their names."""
    contenders: dict[tuple[str, str], Contender] = {}
    entries: dict[str, Entry] = {}
    for system in systems:
        cfg, model = make_subject(str(ROOT / str(system.config)), [plan.photo], DETECTIONS)
        size = Inputs.from_config(cfg, "pil").of_files([plan.photo]).shape[-2:]
        entries[system.name] = {"config": system.config, "input_hw": list(size), "left_out": {}}
        for mode in plan.modes:
            made = _contender_or_reason(cfg, model, mode)
            if isinstance(made, Contender):
                contenders[system.name, mode] = made
            else:
                entries[system.name]["left_out"][mode] = made
                print(f"{system.name}, {mode}: left out ({made})")
    names = {"\n".join(key): contender for key, contender in contenders.items()}
    before = _product_ms()
    times = time_whole(names, [plan.photo], plan.rounds)
    common = {"conditions": plan.conditions, "when": circumstances().partition(",")[0],
              "load": load(), "product_ms": [before, _product_ms()]}  # fmt: skip
    for name, entry in entries.items():
        entry |= common
        entry["modes"] = {mode: times["\n".join(key)] for key in contenders
                          for of, mode in [key] if of == name}  # fmt: skip
    return entries


def _contender_or_reason(cfg: CfgNode, model: nn.Module, mode: str) -> Contender | str:
    """The model in a mode, or why there is none."""
    try:
        return Contender.from_config(cfg, model, mode)
    except ConfigError as error:
        return str(error)


def _product_ms() -> float:
    """Of the product of matrices that is the ceiling: how fast the machine is right now."""
    work = {"product": matrix_product(torch.float32)}
    median: float = spread(take_turns(work, rounds=5)["product"])["median"]
    return median


def table(entries: Mapping[str, Entry], modes: Sequence[str]) -> str:
    """Medians and 90th percentiles in ms in Markdown."""
    lines = table_head(["", "input", *(f"{mode}, ms (90 %)" for mode in modes), "masks"])
    for name, entry in entries.items():
        times = [entry["modes"].get(mode) for mode in modes]
        cells = [f"{each['median']:.0f} ({each['p90']:.0f})" if each else "-" for each in times]
        masks = "/".join(str(sum(each["masks"])) for each in times if each)
        lines.append(table_row([name, "{1} x {0}".format(*entry["input_hw"]), *cells, masks]))
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and keep the numbers; with --write, also in docs/."""
    args = parse_args()
    set_threads(args.threads)
    plan = Plan(args.photo, args.modes, args.rounds, args.threads)
    results = json.loads(args.json.read_text()) if args.json.exists() else {}
    for system in args.systems:
        if system.config is None:
            print(f"{system.name}: left out, as no configuration of this package builds it")
    kept: dict[str, Entry] = {} if args.again else results
    wanted = missing(args.systems, kept, plan.conditions)
    print(f"{circumstances()} {args.threads} threads, {load()}.")
    print(f"{len(wanted)} of {len(args.systems)} systems to measure; {args.json} has the others.")
    start, done = time.monotonic(), 0
    seconds = None if args.minutes is None else 60 * args.minutes
    with make_progress_bar(len(wanted), desc="systems") as bar:
        for group in in_time(wanted, args.together, seconds):
            found = measure_group(group, plan)
            results |= found
            write_json(args.json, results, indent=1)
            done += len(group)
            bar.update(len(group))
            spent = time.monotonic() - start
            left = format_seconds(spent / done * (len(wanted) - done))
            print(f"\n{done} of {len(wanted)} after {format_seconds(spent)}, about {left} left\n")
            print(table(found, plan.modes), flush=True)
    if done < len(wanted):
        print(f"{len(wanted) - done} left: the same command goes on with them.")
    if args.write:
        _write(results)


def _write(results: Mapping[str, Entry]) -> None:
    write_json(comparison.RESULTS, dict(results), indent=1)
    generate.main()
    sys.stdout.write(f"wrote {comparison.RESULTS.relative_to(ROOT)}, its page and its picture\n")
