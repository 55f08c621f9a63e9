from pathlib import Path

import pytest

from benchmarks.calls import Call, Walk, walk


def test_a_change_is_a_call_in_another_folder_than_the_one_before():
    files = ["a/x.py", "a/y.py", "b/x.py", "b/x.py", "a/x.py", "b/x.py"]
    counted = Walk(tuple(Call(file, "f") for file in files))
    assert counted.changes() == {
        (Call("a/y.py", "f"), Call("b/x.py", "f")): 1,
        (Call("b/x.py", "f"), Call("a/x.py", "f")): 1,
        (Call("a/x.py", "f"), Call("b/x.py", "f")): 1,
    }
    assert counted.summary() == "6 calls of 3 functions in 3 files, 3 changes of folder"


def test_calls_are_recorded_in_order_and_only_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for folder, text in {
        "up": "from own.low.tools import twice\ndef run(): return twice(3)",
        "low": "import json\ndef once(x): return json.loads(str(x))\n"
        "def twice(x): return once(x) + once(x)",
    }.items():
        (tmp_path / "own" / folder).mkdir(parents=True)
        (tmp_path / "own" / folder / "tools.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    from own.up.tools import run

    counted = walk(run, tmp_path / "own")
    names = [(call.folder, call.function) for call in counted.calls]
    assert names == [("up", "run"), ("low", "twice"), ("low", "once"), ("low", "once")]
