"""The page that the benchmarks write; nothing is timed for its number here."""

import pytest

from benchmarks import measure, ops
from benchmarks.workloads import Case, pairs_compared
from maskrcnn_benchmark.layers import nms
from tests.layers.inputs import random_boxes


def row(ours, theirs, goal):
    case = Case("work", lambda: None, lambda: None, "somebody", goal)
    return ops.Row(case, ours, theirs, bound=1.0)


def test_a_row_names_what_was_missed():
    lines = ops.table([row(2.0, 30.0, 10), row(4.0, 30.0, 10)]).splitlines()
    assert lines[2].endswith("| 2.00 | 30.0 | **15.0x** | 10x | 1 | 50% |")
    assert lines[3].endswith("| 4.00 | 30.0 | **7.5x** (missed) | 10x | 1 | 25% |")
    assert len({line.count("|") for line in lines}) == 1


def test_the_page_has_room_for_the_table():
    page, found = ops.MADE.subn(r"\1new\2", ops.PAGE.read_text())
    assert found == 1
    assert "new<!-- end -->" in page


def test_the_bound_is_the_longer_of_memory_and_arithmetic():
    best = measure.Roofline(bytes=1e9, flops=2e9)
    assert best.milliseconds(1e6, 0) == pytest.approx(1)
    assert best.milliseconds(1e6, 4e6) == pytest.approx(2)


def test_contenders_take_turns():
    calls = []
    slow = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = measure.medians(slow, rounds=3, threads=2)
    assert len(times) == 2
    first, last = calls.index("b"), len(calls) - 1 - calls[::-1].index("a")
    assert 0 < first < last


def test_pairs_are_those_of_kept_boxes():
    boxes, scores, _ = random_boxes(30)
    order = scores.argsort(descending=True, stable=True)
    kept = nms(boxes[order], scores[order], 0.5)
    keep = scores.new_zeros(30).bool()
    keep[kept] = True
    assert pairs_compared(keep) == sum(29 - rank for rank in kept.tolist())
