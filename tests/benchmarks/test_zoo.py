"""Which systems are compared, in which groups; nothing is timed for its number here."""

import itertools
import json

import pytest

from benchmarks.inference import systems, zoo
from tests.contract.source_tree import ROOT


def row(name, **more):
    family, _, label = name.partition(" ")
    about = {"config": f"{name}.yaml", "split": "test-dev", "mask": {"AP": 30.0}, "ms": 20}
    return {"model": name, "gpu": "V100", "system": {"family": family, "label": label},
            **about, **more}  # fmt: skip


def write(folder, rows):
    path = folder / "zoo.json"
    path.write_text(json.dumps({"models": rows}))
    return path


def test_rows_with_the_key_are_systems(tmp_path):
    other = row("Other R-50")
    del other["system"]
    path = write(tmp_path, [row("A R-50", measured={"multiply_adds": 5}), other, row("B R-50")])
    first, second = systems.read_systems(path)
    assert (first.name, first.family, first.label, first.multiply_adds) == (
        *("A R-50", "A", "R-50"),
        5,
    )
    assert (second.name, second.multiply_adds, second.mask_ap) == ("B R-50", None, 30.0)


def test_two_systems_of_one_name_are_refused(tmp_path):
    path = write(tmp_path, [row("A R-50"), row("A R-50", split="val2017")])
    with pytest.raises(ValueError, match="A R-50"):
        systems.read_systems(path)


def test_systems_are_chosen_by_parts_of_their_names(tmp_path):
    path = write(tmp_path, [row("Mask R-50"), row("Mask R-101"), row("Yolact R-50")])
    all_of_them = systems.read_systems(path)
    names = [system.name for system in systems.choose(all_of_them, ["R-101", "yolact"])]
    assert names == ["Mask R-101", "Yolact R-50"]
    assert systems.choose(all_of_them, []) == all_of_them
    with pytest.raises(ValueError, match="Mask R-50, Mask R-101, Yolact R-50"):
        systems.choose(all_of_them, ["Mask", "nothing"])


def test_the_systems_of_the_zoo_can_be_told_apart_and_built():
    found = systems.read_systems()
    labels = [(system.family, system.label) for system in found]
    assert len(set(labels)) == len(labels)
    assert all((ROOT / system.config).is_file() for system in found if system.config)


def test_what_was_measured_under_the_same_conditions_is_not_measured_again(tmp_path):
    path = write(tmp_path, [row("A"), row("B"), row("C"), row("D", config=None)])
    kept = {"A": {"conditions": {"rounds": 3}}, "B": {"conditions": {"rounds": 5}}}
    found = zoo.missing(systems.read_systems(path), kept, {"rounds": 3})
    assert [system.name for system in found] == ["B", "C"]


@pytest.mark.parametrize(("seconds", "expected"), [(None, 3), (0, 0), (15, 1), (25, 2), (100, 3)])
def test_no_group_begins_that_would_end_too_late(monkeypatch, seconds, expected):
    clock = itertools.count(step=5)
    monkeypatch.setattr(zoo.time, "monotonic", lambda: next(clock))
    groups = list(zoo.in_time("abcde", 2, seconds))
    assert groups == [("a", "b"), ("c", "d"), ("e",)][:expected]


def test_the_table_has_a_row_for_every_system():
    time = {"median": 10.4, "p90": 12.0, "masks": [100]}
    entries = {
        "A": {"input_hw": [550, 640], "modes": {"plain": time, "bf16": time}},
        "B": {"input_hw": [32, 64], "modes": {"plain": time}},
    }
    lines = zoo.table(entries, ["plain", "bf16"]).splitlines()
    assert lines[2:] == [
        "| A | 640 x 550 | 10 (12) | 10 (12) | 100/100 |",
        "| B | 64 x 32 | 10 (12) | - | 100 |",
    ]


@pytest.mark.parametrize(
    "words", [["--only", "no such"], ["--modes", "slow"], ["--rounds", "0"], ["--photo", "none"]]
)
def test_wrong_words_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        zoo.parse_args(["--zoo", *words])
    assert words[0] in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_system_is_timed_in_every_mode(tmp_path, monkeypatch, capsys):
    path = tmp_path / "times.json"
    name = "CenterMask-Lite MV2-FPN"
    words = ["--zoo", "--only", name, "--modes", "plain", "fast", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["inference", *words, "--threads", "1", "--json", str(path)])
    zoo.main()
    entry = json.loads(path.read_text())[name]
    assert [entry["modes"][mode]["masks"] for mode in ("plain", "fast")] == [[100], [100]]
    before = path.read_text()
    zoo.main()
    assert path.read_text() == before
    assert "0 of 1 systems to measure" in capsys.readouterr().out
