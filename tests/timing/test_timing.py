"""Stages and turns; nothing is timed for its number here."""

import itertools

import pytest
from torch import nn

from maskrcnn_benchmark.timing import stages, turns


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
    times = turns.take_turns(works, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}


def test_median_and_90th_percentile():
    assert turns.spread([0.001 * n for n in range(1, 11)]) == {"median": 5.5, "p90": 10.0}
    assert turns.spread([0.002]) == {"median": 2.0, "p90": 2.0}
