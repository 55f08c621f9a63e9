"""Runs the parts one after the other, each in a process of its own that may take so long.

    python -m benchmarks.gpu [--out FOLDER] [--wheels FOLDER] [--only PART ...] [--dry-run]

In ``--out`` it leaves report.md, report.json, and of each part a log and its rows. Ends with status
0 if every part did all it should, 1 if one did not, 2 without a GPU.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu.card import capability, facts, missing_gpu
from benchmarks.gpu.record import Notebook, Outcome, write_report

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 480.0
"""All parts together take no longer."""
FEWEST_SECONDS = 5.0
"""A part is not begun with less time."""


class Part(NamedTuple):
    """One process.

    Attributes:
        name: its name.
        seconds: it is stopped after so long.
        command: with what it is started.
        environment: what is added to the environment.
    """

    name: str
    seconds: float
    command: Sequence[str]
    environment: Mapping[str, str] = {}


def make_parts(folder: Path, device: torch.device, *, dry: bool) -> list[Part]:
    """All parts, in their order; the most important first.

    Args:
        folder: where they leave their results.
        device: what is measured.
        dry: build nothing, test little, measure toys.
    """
    python = sys.executable
    build = [python, "setup.py", "build_ext"]
    if dry:
        build += ["--build-lib", str(folder / "build"), "--build-temp", str(folder / "build")]
    wanted = {"CENTERMASK_BUILD": "none" if dry else "cuda"}
    if not dry:
        build.append("--inplace")
        wanted["TORCH_CUDA_ARCH_LIST"] = capability(device)
    tests = [python, "-m", "pytest", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider"]
    tests += ["--continue-on-collection-errors", f"--junitxml={folder / 'tests.xml'}"]
    tests += ["--timeout=60"] if find_spec("pytest_timeout") else []
    tests += ["tests/modeling/dense/test_waiting.py"] if dry else ["tests"]
    measured = [python, "-m", "benchmarks.gpu", "--out", str(folder)]
    measured += ["--dry-run"] if dry else []
    return [
        Part("build", 120, build, wanted),
        Part("tests", 120, tests),
        Part("ceiling", 20, [*measured, "--part", "ceiling"]),
        Part("operators", 60, [*measured, "--part", "operators"]),
        Part("modes", 130, [*measured, "--part", "modes"]),
        Part("training", 60, [*measured, "--part", "training"]),
    ]


def run_part(part: Part, folder: Path, limit: float, extra_path: Sequence[str] = ()) -> Outcome:
    """How the part ended; what it printed is in a log in ``folder``.

    Args:
        part: what is run.
        folder: where the log goes.
        limit: s.
        extra_path: where Python also looks for packages.
    """
    path = os.pathsep.join([str(ROOT), *extra_path, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), "PYTHONUNBUFFERED": "1"}
    begin = time.monotonic()
    with (folder / f"{part.name}.log").open("w") as log:
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            env={**environment, **part.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it has started ends with it
        )
        try:
            status = process.wait(limit)
            state = "done" if status == 0 else f"failed with status {status}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            state = f"stopped after {limit:.0f} s"
    return Outcome(part.name, state, time.monotonic() - begin, limit)


def note_tests(report: Path, notes: Notebook) -> None:
    """Write down how many tests passed, and the names of those that did not."""
    if not report.exists():
        notes.add("tests marked gpu", "no report", note="see tests.log")
        return
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None]
    broken = [case for case in cases if case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - len(failed) - len(broken) - skipped
    value = f"{passed} passed, {len(failed)} failed, {len(broken)} errors, {skipped} skipped"
    notes.add("tests marked gpu", value)
    for case in [*failed, *broken][:20]:
        name = f"{case.get('classname')}::{case.get('name')}"
        notes.add(name, "failed" if case in failed else "error", note="see tests.log")


def run_all(
    parts: Sequence[Part], folder: Path, seconds: float, extra_path: Sequence[str] = ()
) -> list[Outcome]:
    """How each part ended; none takes the time of those after it beyond its own limit.

    Args:
        parts: in their order.
        folder: where logs and rows go.
        seconds: for all of them.
        extra_path: where Python also looks for packages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline, outcomes = time.monotonic() + seconds, []
    for part in parts:
        Notebook(part.name, folder).path.unlink(missing_ok=True)
        left = deadline - time.monotonic()
        if left < FEWEST_SECONDS:
            outcomes.append(Outcome(part.name, "not begun: no time was left", 0, 0))
            continue
        outcome = run_part(part, folder, min(part.seconds, left), extra_path)
        if part.name == "tests":
            note_tests(folder / "tests.xml", Notebook("tests", folder))
        print(f"{outcome.part}: {outcome.state}, {outcome.seconds:.0f} s", flush=True)
        outcomes.append(outcome)
    return outcomes


def unpack(wheels: Path, folder: Path) -> str:
    """Folder of the packages, after they were unpacked from wheels; it needs no pip."""
    target = folder / "packages"
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise SystemExit(f"--wheels: expected wheels in {wheels}, found none (make gpu-wheels)")
    for path in files:
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(target)
    return str(target)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "gpu", help="the results")
    parser.add_argument("--wheels", type=Path, help="packages to unpack first: make gpu-wheels")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="these parts alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--dry-run", action="store_true", help="toy sizes on the CPU")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """The exit status."""
    arguments = parse(words)
    folder = arguments.out.resolve()
    if not arguments.dry_run and (reason := missing_gpu()):
        print(reason, file=sys.stderr)
        return 2
    device = torch.device("cpu" if arguments.dry_run else "cuda:0")
    if arguments.part:
        # Only in a child: the packages that it needs may have been installed just now.
        from benchmarks.gpu.parts import IN_A_DRY_RUN, MEASURED, ON_A_GPU

        sizes = IN_A_DRY_RUN if arguments.dry_run else ON_A_GPU
        MEASURED[arguments.part](device, sizes, Notebook(arguments.part, folder))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    extra_path = [unpack(arguments.wheels, folder)] if arguments.wheels else []
    parts = make_parts(folder, device, dry=arguments.dry_run)
    if unknown := set(arguments.only) - {part.name for part in parts}:
        known = ", ".join(part.name for part in parts)
        raise SystemExit(f"--only: expected some of {known}, got {', '.join(sorted(unknown))}")
    chosen = [part for part in parts if not arguments.only or part.name in arguments.only]
    outcomes = run_all(chosen, folder, arguments.seconds, extra_path)
    rows = [row for part in chosen for row in Notebook(part.name, folder).rows()]
    print(write_report(folder, facts(device), outcomes, rows))
    return 0 if all(outcome.state == "done" for outcome in outcomes) else 1
