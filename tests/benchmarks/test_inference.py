"""Tables; nothing is timed for its number here."""

import sys

import pytest

from benchmarks.inference import measure, report, run


def entry(part, result, **more):
    about = {"model": "R-50", "batch": 1, "machine": "a machine.", "threads": 2, "load": "idle"}
    return {"part": part, "result": result, **about, **more}


def test_the_page_has_a_table_for_every_entry_in_order():
    one = {"median": 10.0, "p90": 12.0}
    stage = {"decode": {"median": 1.0, "p90": 1.0}}
    whole = {
        "plain": {**one, "masks": [50], "stages": stage},
        "fast": {"median": 5.0, "p90": 6.0, "masks": [49], "stages": stage},
    }
    dense = {
        "input": [1, 3, 32, 64],
        "gflop": 3.0,
        "times": {"plain": {**one, "gflops": 300}, "ceiling float32": {**one, "gflops": 500}},
    }
    memory = {"plain": {"network": 100.0, "whole": 110.0, "ratio": 1.1}}
    entries = {
        "3": entry("memory", memory),
        "2": entry("dense", dense),
        "1": entry("whole", whole, model="MV2"),
        "0": entry("whole", whole),
        "4": entry("exports", {"plain": whole["plain"], "a file": whole["fast"]}),
    }
    text = report.page(entries)
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert [title.split(":")[0].strip("*") for title in titles] == [
        "CenterMask R-50, 800/1333",
        "CenterMask-Lite MV2, 600/1000",
        "CenterMask R-50, 800/1333",
        "CenterMask R-50, 800/1333",
        "CenterMask R-50, 800/1333",
    ]
    assert "| fast | 5.0 | 6.0 | **0.50** | 49 | 1.0 |" in text
    assert "| a file | 5.0 | 6.0 | **0.50** | 49 | 1.0 |" in text
    assert "| ceiling float32 | 10.0 | 12.0 |  | 500 |" in text
    assert "| plain | 100.0 | 110.0 | **1.10** |" in text


def test_the_page_has_room_for_the_tables():
    page, found = run.MADE.subn(r"\1new\2", run.PAGE.read_text())
    assert found == 1
    assert "new<!-- end -->" in page


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_does_not_hide_the_peak():
    blocks = [b"x" * 2**16 for _ in range(2000)]
    del blocks
    assert measure.peak_of(lambda: b"x" * (64 * 2**20)) == pytest.approx(64, abs=8)
    assert measure.peak_of(lambda: None) < 8
