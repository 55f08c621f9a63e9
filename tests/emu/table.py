"""Runs the table of op_cases on a library in a process of its own.

A process of its own, because sanitizers must be loaded first and broken kernels may end it.
    python -m tests.emu.table LIBRARY --namespace NAME --families nms ... [--orders forward ...]
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from tests.emu.build import ROOT, Variant, sanitizer_environment
from tests.emu.emulation import ORDERS, running
from tests.layers.op_cases import EMULATED, FAMILIES, cases_of, run_case, run_refusal
from tests.layers.op_cases.case import DTYPES

SECONDS = 3600


def index_errors(library: Path) -> Iterator[str]:
    """What is wrong with the 64-bit indices of launches that no test could wait for."""
    with running(library) as emulation:
        if not hasattr(emulation, "emu_control"):
            return
        begin, stride = emulation.emu_grid_begin(2**30, 1024, 5), 2**32 - 1024
        if begin != 2**40 + 5:
            yield f"grid_begin of block 2**30 is {begin}"
        if emulation.emu_grid_stride(2**22 - 1, 1024, 0) != stride:
            yield "grid_stride is too narrow"


def _complaint(run: Callable[[], None]) -> str | None:
    try:
        run()
    except (AssertionError, RuntimeError) as error:
        return " ".join(str(error).split())
    return None


def failures(
    namespace: str, families: Sequence[str], dtypes: Sequence[torch.dtype], *, on_cuda: bool
) -> Iterator[str]:
    """One line for each case that does not come out as it should."""
    for family in families:
        calls: list[tuple[str, Callable[[], None]]] = [
            (f"{case} {dtype}", partial(run_case, case, namespace, dtype))
            for case in cases_of(family, on_cuda=on_cuda)
            for dtype in dtypes
        ]
        calls += [
            (str(refusal), partial(run_refusal, refusal, namespace))
            for refusal in FAMILIES[family].REFUSALS
        ]
        for name, call in calls:
            if (complaint := _complaint(call)) is not None:
                yield f"{name}: {complaint}"


def table_words(
    library: Path,
    variant: Variant,
    families: Sequence[str],
    orders: Sequence[str],
    *,
    first_only: bool,
    one_type: bool,
) -> list[str]:
    """The words that ``main`` takes."""
    words = [str(library), "--namespace", variant.namespace]
    words += ["--families", *families, "--orders", *orders]
    return words + ["--first-only"] * first_only + ["--one-type"] * one_type


def run_table(
    library: Path,
    variant: Variant,
    families: Sequence[str] | None = None,
    orders: Sequence[str] = ("forward",),
    *,
    first_only: bool = False,
    one_type: bool = False,
) -> subprocess.CompletedProcess[str]:
    """The finished process; it returns 0 when every case passed and nothing was reported."""
    if families is None:
        families = EMULATED if variant.emulated else tuple(FAMILIES)
    words = table_words(
        library, variant, families, orders, first_only=first_only, one_type=one_type
    )
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.emu.table", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **sanitizer_environment(variant)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run the table as the command line, or these words, say; number of failures, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--families", nargs="+", required=True)
    parser.add_argument("--orders", nargs="+", default=["forward"])
    parser.add_argument("--first-only", action="store_true", help="stop at the first failure")
    parser.add_argument("--one-type", action="store_true", help="float32 only")
    arguments = parser.parse_args(words)
    dtypes = DTYPES[:1] if arguments.one_type else DTYPES
    found = [*index_errors(arguments.library)]
    for order in ORDERS:
        if order.name not in arguments.orders or (found and arguments.first_only):
            continue
        with running(arguments.library, order) as library:
            on_cuda = hasattr(library, "emu_control")
            lines = failures(arguments.namespace, arguments.families, dtypes, on_cuda=on_cuda)
            found += [next(lines, "")] if arguments.first_only else lines
        found = [line for line in found if line]
    print("\n".join(f"FAILED {line}" for line in found))  # noqa: T201 - what the parent reads
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
