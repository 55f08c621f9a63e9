"""Stages, turns and tables; nothing is timed for its number here."""

import itertools

import pytest
from torch import nn

from benchmarks.inference import measure, report, run, stages


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second each time it is looked at."""
    ticks = itertools.count()
    monkeypatch.setattr(stages.time, "perf_counter", lambda: float(next(ticks)))


def test_a_stage_has_what_the_stages_inside_it_do_not_have(clock):
    times = stages.StageTimes()
    with times.stage("outer"), times.stage("inner"):
        pass
    # The outer one lasts from 0 to 3, the inner one from 1 to 2.
    assert times.seconds == {"inner": 1.0, "outer": 2.0}
    times.clear()
    for _ in range(2):
        with times.stage("again"):
            pass
    assert times.seconds == {"again": 2.0}


class Detector(nn.Module):
    """A detector with the submodules of the real ones, which do nothing."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.body = nn.Identity()
        self.rpn = nn.Sequential()
        self.rpn.head = nn.Identity()

    def forward(self, images):
        return self.rpn(self.backbone(images))


def test_the_parts_of_a_detector_are_stages(clock):
    times, detector = stages.StageTimes(), Detector()
    times.watch(detector)
    with times.stage("selection"):
        detector(1)
    # Whatever is in no part is the selection's; each part lasts a second without those inside it.
    assert times.seconds == {
        "backbone": 1.0,
        "pyramid": 2.0,
        "head": 1.0,
        "selection": 2.0 + 3.0,
    }
    times.watch(lambda images: images)  # nothing to watch


def test_a_backbone_without_a_body_is_one_stage(clock):
    times, detector = stages.StageTimes(), Detector()
    del detector.backbone.body
    times.watch(detector)
    detector(1)
    assert times.seconds == {"backbone, pyramid": 1.0, "head": 1.0, "selection": 2.0}


def test_contenders_take_turns_after_one_to_warm_up():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = measure.take_turns(works, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}


def test_median_and_90th_percentile():
    assert measure.spread([0.001 * n for n in range(1, 11)]) == {"median": 5.5, "p90": 10.0}
    assert measure.spread([0.002]) == {"median": 2.0, "p90": 2.0}


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
    }
    text = report.page(entries)
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert [title.split(":")[0].strip("*") for title in titles] == [
        "CenterMask R-50, 800/1333",
        "CenterMask-Lite MV2, 600/1000",
        "CenterMask R-50, 800/1333",
        "CenterMask R-50, 800/1333",
    ]
    assert "| fast | 5.0 | 6.0 | **0.50** | 49 | 1.0 |" in text
    assert "| ceiling float32 | 10.0 | 12.0 |  | 500 |" in text
    assert "| plain | 100.0 | 110.0 | **1.10** |" in text


def test_the_page_has_room_for_the_tables():
    page, found = run.MADE.subn(r"\1new\2", run.PAGE.read_text())
    assert found == 1
    assert "new<!-- end -->" in page
