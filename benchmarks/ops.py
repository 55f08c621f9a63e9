"""Time the operators beside those of others: ``python -m benchmarks.ops [--write]``."""

import argparse
import os
import re
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.mask_workloads import paste_case, polygon_case
from benchmarks.measure import medians, roofline
from benchmarks.workloads import (
    Case,
    deform_conv_case,
    focal_case,
    group_norm_cases,
    inverted_residual_case,
    nms_cases,
    pointwise_case,
    roi_align_cases,
    roi_pool_case,
    scores_case,
    tower_cases,
    winograd_cases,
)
from maskrcnn_benchmark.layers import ops_status
from maskrcnn_benchmark.timing.machine import circumstances

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "images" / "benchmarks.svg"
MADE = re.compile(r"(<!-- made by benchmarks/ops.py -->\n).*(<!-- end -->)", re.DOTALL)


class Row(NamedTuple):
    """Outcome of a case: milliseconds of both, and of the bound."""

    case: Case
    ours: float
    theirs: float
    bound: float

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.theirs / self.ours


def all_cases() -> list[Case]:
    """Every comparison, always with the same random numbers."""
    torch.manual_seed(0)
    return [
        *roi_align_cases(100, 14, 2),
        *roi_align_cases(512, 7, 2),
        *roi_align_cases(100, 14, 0),
        *roi_align_cases(512, 7, 0),
        *nms_cases(1000),
        *nms_cases(2000),
        *nms_cases(5000),
        *nms_cases(5000, largest=30.0)[:1],
        roi_pool_case(512, 7),
        focal_case(45000, 80),
        *group_norm_cases(256, 100, 168),
        scores_case(80, 100, 168),
        *winograd_cases(256, 100, 168),
        pointwise_case(256, 1024, 50, 84),
        inverted_residual_case(24, 152, 200),
        inverted_residual_case(96, 38, 50),
        deform_conv_case(128, 50, 84),
        paste_case(100),
        polygon_case(100, 10),
        *tower_cases(128, 2, [(76, 100), (38, 50), (19, 25), (10, 13), (5, 7)]),
    ]


def measure(cases: list[Case], threads: int, rounds: int) -> tuple[str, list[Row]]:
    """A sentence about the circumstances, and a row a case."""
    torch.set_num_threads(threads)
    before, best = os.getloadavg()[0], roofline(threads)
    rows = []
    for case in cases:
        ours, theirs = medians([case.ours, case.theirs], rounds, threads)
        bound = best.milliseconds(case.num_bytes, case.num_flops)
        rows.append(Row(case, ours, theirs, bound))
        print(f"{case.title:64} {ours:8.2f} {theirs:9.2f} {theirs / ours:6.1f}x", flush=True)
    clock = "processor time" if threads == 1 else "wall time"
    about = (
        f"{threads} thread{'s' * (threads > 1)}, {clock}, medians of up to {rounds} turns; load "
        f"average {before:.1f} before and {os.getloadavg()[0]:.1f} after; copying "
        f"{best.bytes / 1e9:.1f} GB/s, matrix product {best.flops / 1e9:.0f} GFLOP/s."
    )
    return about, rows


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| work | compared with | ours, ms | theirs, ms | ratio | goal | bound, ms | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        case, mark = row.case, "" if row.ratio >= row.case.goal else " (missed)"
        bound = f"{row.bound:.2g} | {min(row.bound / row.ours, 1):.0%}"
        lines.append(
            f"| {case.title} | {case.peer} | {row.ours:.2f} | {row.theirs:.1f} "
            f"| **{row.ratio:.1f}x**{mark} | {case.goal:g}x | {bound} |"
        )
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """Write the ratios as a bar chart, goals as ticks."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.3 * len(rows) + 1))
    places = range(len(rows))
    axes.barh(places, [row.ratio for row in rows], color="#4477aa")
    axes.plot([row.case.goal for row in rows], places, "|", color="#cc3311", markersize=14)
    axes.set_yticks(places, [row.case.title for row in rows], fontsize=8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("times faster than what it is compared with, 1 thread (red: goal)")
    figure.tight_layout()
    # Nothing in the file should change but the numbers.
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none"})
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure, print, and with --write put the numbers into docs/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="turns a case (fewer if it is slow)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="cases whose title has this text")
    parser.add_argument("--write", action="store_true", help="put the numbers into docs/")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write takes all cases; leave --only out")
    print(f"{circumstances()} Operators: {ops_status().reason}")
    cases = [case for case in all_cases() if arguments.only in case.title]
    parts, drawn = [circumstances()], None
    for threads in arguments.threads:
        about, rows = measure(cases, threads, arguments.rounds)
        print(about)
        parts += [about, table(rows)]
        drawn = drawn or rows
    if arguments.write and drawn:
        text = "\n\n".join(parts)
        page, found = MADE.subn(lambda made: f"{made[1]}\n{text}\n\n{made[2]}", PAGE.read_text())
        if not found:
            parser.error(f"{PAGE} has lost the marks that the numbers go between")
        PAGE.write_text(page)
        draw(drawn, PICTURE)


if __name__ == "__main__":
    main()
