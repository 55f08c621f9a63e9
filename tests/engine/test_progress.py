import json
import logging
import math

import pytest
import torch

from maskrcnn_benchmark.engine import progress
from maskrcnn_benchmark.engine.hooks import StepRecord
from maskrcnn_benchmark.engine.progress import (
    MetricsFile,
    ProgressHook,
    format_seconds,
    make_progress_bar,
    peak_memory_mb,
)


class StandInTrainer:
    def __init__(self, max_iter, start_iter=0):
        self.max_iter, self.start_iter, self.device = max_iter, start_iter, torch.device("cpu")


def run_hook(hook, max_iter, start_iter=0, grad_norm=None):
    """Step i takes i seconds, of which half a second for data, and has the losses i and 2 i."""
    trainer = StandInTrainer(max_iter, start_iter)
    hook.before_train(trainer)
    for i in range(start_iter + 1, max_iter + 1):
        losses = {"loss": 3.0 * i, "loss_cls": 1.0 * i, "loss_reg": 2.0 * i}
        hook.after_step(trainer, StepRecord(i, losses, 0.01 / i, grad_norm, 0.5, 1.0 * i))
    hook.close(trainer)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_have_the_losses_of_exactly_that_iteration(tmp_path):
    run_hook(ProgressHook(period=2, output_dir=tmp_path), 5)
    lines = lines_of(tmp_path)
    assert [line["iteration"] for line in lines] == [1, 2, 4, 5]
    assert lines[2] == {
        "iteration": 4,
        "loss": 12.0,
        "loss_cls": 4.0,
        "loss_reg": 8.0,
        "lr": 0.0025,
        "time": 2.5,
        "data_time": 0.5,
        "eta_seconds": 2.5,
    }


def test_without_a_period_only_the_first_and_last_iteration_have_a_line(tmp_path):
    """Bug: SOLVER.LOG_PERIOD 0 divided by zero."""
    run_hook(ProgressHook(period=0, output_dir=tmp_path), 5)
    assert [line["iteration"] for line in lines_of(tmp_path)] == [1, 5]


def test_the_gradient_norm_is_there_when_it_is_known(tmp_path):
    run_hook(ProgressHook(period=1, output_dir=tmp_path), 1, grad_norm=7.0)
    assert lines_of(tmp_path)[0]["grad_norm"] == 7.0


def test_a_log_line_tells_smoothed_losses_times_rate_and_memory(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run_hook(ProgressHook(period=4, output_dir=None), 5)
    assert len(caplog.records) == 3
    line = caplog.records[1].message
    for part in (
        "eta: 0:00:02  iter: 4  loss: 6.0000 (7.5000)  loss_cls: 2.0000 (2.5000)",
        "time: 2.0000 (2.5000)  data: 0.5000 (0.5000)  lr: 0.002500  max mem: ",
    ):
        assert part in line
    assert caplog.records[1].shown_by_bar
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_writes_again_what_was_lost(tmp_path):
    run_hook(ProgressHook(period=1, output_dir=tmp_path), 5)
    run_hook(ProgressHook(period=1, output_dir=tmp_path), 7, start_iter=3)
    assert [line["iteration"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]


def test_other_processes_are_silent(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "is_main_process", lambda: False)
    with caplog.at_level(logging.INFO):
        run_hook(ProgressHook(period=1, output_dir=tmp_path), 2)
    assert not caplog.records
    assert list(tmp_path.iterdir()) == []


def test_broken_lines_are_dropped_when_rewinding(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"iteration": 1}\n\xff\n[1]\n3\n{"loss": 1}\n{"iteration": 2}\n{"iteration": 3}\n{"iter'
    )
    MetricsFile(path).rewind(2)
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'
    MetricsFile(path).rewind(0)
    assert path.read_text() == ""
    MetricsFile(tmp_path / "other").rewind(0)
    assert not (tmp_path / "other").exists()


def test_a_metric_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        MetricsFile(tmp_path / "metrics.jsonl").append({"loss": math.nan})


def test_durations():
    assert format_seconds(59.9) == "0:00:59"
    assert format_seconds(90061) == "1 day, 1:01:01"


def test_memory_of_this_process_is_plausible():
    assert 50 < peak_memory_mb(torch.device("cpu")) < 1e6


@pytest.mark.parametrize(("terminal", "main"), [(True, True), (True, False), (False, True)])
def test_a_bar_is_for_people_at_the_main_process(monkeypatch, terminal, main, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(progress, "is_main_process", lambda: main)
    with make_progress_bar(3, initial=1, desc="training") as bar:
        bar.update()
    assert ("training" in capsys.readouterr().err) is (terminal and main)
