"""The run for a machine with a GPU, on the CPU: what its parts write, and that none outlasts it."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from benchmarks.gpu import run
from benchmarks.gpu.parts import IN_A_DRY_RUN, MEASURED, likeness
from benchmarks.gpu.record import Notebook, Outcome, Row, write_report
from tests.factories import random_boxlist

CPU = torch.device("cpu")


def python(code, name="part", seconds=20.0):
    return run.Part(name, seconds, [sys.executable, "-S", "-c", code])


@pytest.mark.parametrize(
    "part",
    [
        "ceiling",
        "operators",
        pytest.param("modes", marks=pytest.mark.slow),
        pytest.param("training", marks=pytest.mark.slow),
    ],
)
def test_every_part_measures_and_fails_at_nothing(tmp_path, part):
    notes = Notebook(part, tmp_path)
    MEASURED[part](CPU, IN_A_DRY_RUN, notes)
    rows = notes.rows()
    assert rows
    assert [row for row in rows if row.value == "failed"] == []


def test_a_part_that_hangs_leaves_the_others_their_time(tmp_path):
    # What it has started hangs too, and ends with it.
    hanging = (
        "import subprocess, sys; print('begun', flush=True); "
        "wait = [sys.executable, '-S', '-c', 'import time; time.sleep(60)']; "
        "child = subprocess.Popen(wait); "
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid)); child.wait()"
    )
    parts = [python(hanging, "one", seconds=2), python("print('hello')", "two")]
    begin = time.monotonic()
    outcomes = run.run_all(parts, tmp_path, 60)
    assert time.monotonic() - begin < 30
    assert [(outcome.part, outcome.state) for outcome in outcomes] == [
        ("one", "stopped after 2 s"),
        ("two", "done"),
    ]
    assert (tmp_path / "one.log").read_text() == "begun\n"
    assert (tmp_path / "two.log").read_text() == "hello\n"
    child = int((tmp_path / "child").read_text())
    while is_alive(child):
        assert time.monotonic() - begin < 30


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_goes_wrong_is_told_and_the_rest_goes_on(tmp_path):
    parts = [python("raise SystemExit(3)", "one"), python("", "two"), python("", "three")]
    outcomes = run.run_all(parts, tmp_path, 60)
    assert [outcome.state for outcome in outcomes] == ["failed with status 3", "done", "done"]
    (late,) = run.run_all(parts[:1], tmp_path, run.FEWEST_SECONDS - 1)
    assert late.state == "not begun: no time was left"


def test_parts_have_eight_minutes_together_and_build_for_the_card(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    parts = run.make_parts(tmp_path, torch.device("cuda:0"), dry=False)
    assert [part.name for part in parts] == ["build", "tests", *MEASURED]
    build = parts[0]
    assert "--inplace" in build.command
    assert build.environment == {"CENTERMASK_BUILD": "cuda", "TORCH_CUDA_ARCH_LIST": "9.0"}
    assert run.SECONDS <= 480
    for part in run.make_parts(tmp_path, CPU, dry=True)[2:]:
        assert "--dry-run" in part.command


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(tmp_path, capsys):
    assert run.main(["--out", str(tmp_path)]) == 2
    assert "What to do: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_wrong_command_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"--only: expected some of build, .*, got nonsense"):
        run.main(["--dry-run", "--out", str(tmp_path), "--only", "nonsense"])
    with pytest.raises(SystemExit, match="--wheels: expected wheels in"):
        run.main(["--dry-run", "--out", str(tmp_path), "--wheels", str(tmp_path)])


def test_the_report_has_every_row(tmp_path):
    rows = [Row("operators", "nms | sort", "1 ms", "torchvision", "2 ms", "2x"), Row("a", "b", "c")]
    outcomes = [Outcome("operators", "done", 1.0, 60.0)]
    text = write_report(tmp_path, {"card": "a card"}, outcomes, rows)
    assert "* card: a card" in text
    assert "| operators | nms / sort | 1 ms | torchvision | 2 ms | 2x |" in text
    assert (tmp_path / "report.md").read_text() == text
    whole = json.loads((tmp_path / "report.json").read_text())
    assert [Row(**row) for row in whole["rows"]] == rows


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    notes = Notebook("a", tmp_path)
    notes.add("work", "1 ms")
    whole = notes.path.read_text()
    notes.path.write_text(whole + whole[:20])
    assert notes.rows() == [Row("a", "work", "1 ms")]


def test_tests_are_counted(tmp_path):
    report = tmp_path / "tests.xml"
    run.note_tests(report, Notebook("none", tmp_path))
    assert Notebook("none", tmp_path).rows()[0].value == "no report"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="good"/>'
        '<testcase classname="a" name="bad"><failure/></testcase>'
        '<testcase classname="a" name="gone"><skipped/></testcase></testsuite></testsuites>'
    )
    run.note_tests(report, Notebook("some", tmp_path))
    first, second = Notebook("some", tmp_path).rows()
    assert first.value == "1 passed, 1 failed, 0 errors, 1 skipped"
    assert (second.work, second.value) == ("a::bad", "failed")


def test_likeness_counts_boxes_of_the_same_class_and_place():
    boxes = random_boxlist(6)
    assert likeness([boxes], [boxes]) == "6 of 6 matched, scores within 0"
    assert likeness([boxes], [boxes[:0]]).startswith("0 of 6 ")
    assert likeness([boxes[:0]], [boxes]).startswith("0 of 0 ")


@pytest.mark.slow
def test_a_whole_dry_run(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry-run", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    whole = json.loads((tmp_path / "report.json").read_text())
    assert {part["state"] for part in whole["parts"]} == {"done"}
    assert {row["part"] for row in whole["rows"]} == {"tests", *MEASURED}
    assert [row for row in whole["rows"] if row["value"] == "failed"] == []
