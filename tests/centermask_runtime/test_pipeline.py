import itertools
import threading

import pytest

from centermask_runtime.pipeline import Progress, StageTimes, run_side_by_side


def threads():
    return [
        thread.name for thread in threading.enumerate() if thread.name in ("reading", "writing")
    ]


def test_all_items_go_through_in_their_order():
    written = []
    times = run_side_by_side(iter(range(50)), lambda item: item * 2, written.append, capacity=2)
    assert written == [2 * item for item in range(50)]
    assert times.count == 50
    assert not threads()


def test_the_stages_run_at_the_same_time():
    """Each stage waits until the one before has begun the next item: in turn, it would not."""
    read_begun, compute_begun = threading.Semaphore(0), threading.Semaphore(0)
    written = []

    def wait_for_next(item, begun):
        for _ in range((2, 1, 0)[item]):
            assert begun.acquire(timeout=10)

    def read():
        for item in range(3):
            read_begun.release()
            yield item

    def compute(item):
        compute_begun.release()
        wait_for_next(item, read_begun)
        return item

    def write(item):
        wait_for_next(item, compute_begun)
        written.append(item)

    run_side_by_side(read(), compute, write)
    assert written == [0, 1, 2]


@pytest.mark.parametrize("stage", ["read", "compute", "write"])
def test_an_error_in_any_stage_ends_all_and_comes_out(stage):
    written, closed = [], []

    def fail(item, here):
        if stage == here and item == 5:
            raise OSError(f"no more {here}")
        return item

    def read():
        try:
            for item in range(1000):
                yield fail(item, "read")
        finally:
            closed.append(True)

    with pytest.raises(OSError, match=f"no more {stage}"):
        run_side_by_side(
            read(),
            lambda item: fail(item, "compute"),
            lambda item: written.append(fail(item, "write")),
        )
    assert written == [0, 1, 2, 3, 4]
    assert closed == [True]
    assert not threads()


def test_what_is_computed_before_ctrl_c_is_written():
    written = []

    def compute(item):
        if item == 7:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(iter(range(100)), compute, written.append, capacity=20)
    assert written == list(range(7))
    assert not threads()


def test_a_live_source_is_never_behind():
    """While the first image is computed, 100 others come: the last of them is the next."""
    all_read, computed = threading.Event(), []

    def read():
        yield from range(100)
        all_read.set()

    def compute(item):
        assert all_read.wait(10)
        computed.append(item)

    run_side_by_side(read(), compute, lambda _: None, is_live=True)
    assert computed[-1] == 99
    assert len(computed) <= 3


def test_ctrl_c_is_the_natural_end_of_a_live_source():
    written = []

    def compute(item):
        if len(written) >= 3:
            raise KeyboardInterrupt
        return item

    assert run_side_by_side(itertools.count(), compute, written.append, is_live=True).count >= 3
    assert not threads()


def test_no_items_at_all():
    times = run_side_by_side([], abs, print)
    assert times.count == 0
    assert times.summary("photo")


def test_the_slowest_stage_is_named():
    times = StageTimes(reading=1.0, inference=8.0, writing=2.5, together=10.0, count=5)
    told = times.summary("frame")
    assert "0.50 a second" in told
    assert "inference sets the pace" in told


def test_progress_estimates_what_is_left(monkeypatch):
    clock = iter([0.0, 10.0, 40.0])
    monkeypatch.setattr("centermask_runtime.pipeline.perf_counter", lambda: next(clock))
    progress = Progress(4)
    assert progress.tell(1) == "1/4, 0:00:30 left"
    assert progress.tell(4) == "4/4"
    assert progress.tell(5) == "5"
