import re
from pathlib import Path

import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.yaml_files import read_with_bases


def _write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def _names(layers):
    return [path.stem for path, _ in layers]


def test_a_file_without_base_is_itself(tmp_path):
    _write(tmp_path, one="A: 1\nB:\n  C: (1, 2)\n")
    assert read_with_bases(tmp_path / "one.yaml") == [
        (tmp_path / "one.yaml", {"A": 1, "B": {"C": "(1, 2)"}})
    ]


def test_bases_come_first_and_relative_to_the_file_that_names_them(tmp_path):
    (tmp_path / "deep").mkdir()
    _write(tmp_path, root="A: 1\n", other="A: 2\n")
    _write(tmp_path / "deep", mid="_BASE_: ../root.yaml\nA: 3\n")
    _write(tmp_path, top="_BASE_: [deep/mid.yaml, other.yaml]\nA: 4\n")
    layers = read_with_bases(str(tmp_path / "top.yaml"))
    assert _names(layers) == ["root", "mid", "other", "top"]
    assert [content for _, content in layers] == [{"A": 1}, {"A": 3}, {"A": 2}, {"A": 4}]


def test_two_files_may_build_upon_the_same_one(tmp_path):
    _write(tmp_path, root="A: 1\n", left="_BASE_: root.yaml\n", right="_BASE_: root.yaml\n")
    _write(tmp_path, top="_BASE_: [left.yaml, right.yaml]\n")
    assert _names(read_with_bases(tmp_path / "top.yaml")) == [
        "root", "left", "root", "right", "top",
    ]  # fmt: skip


def test_an_absolute_base_is_taken_as_it_is(tmp_path):
    _write(tmp_path, root="A: 1\n", top=f"_BASE_: {tmp_path / 'root.yaml'}\n")
    assert _names(read_with_bases(tmp_path / "top.yaml")) == ["root", "top"]


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "_BASE_:\n", "_BASE_: []\n"])
def test_empty_files_hold_nothing(tmp_path, text):
    _write(tmp_path, empty=text)
    assert read_with_bases(tmp_path / "empty.yaml") == [(tmp_path / "empty.yaml", {})]


@pytest.mark.parametrize(
    "texts",
    [
        {"top": "_BASE_: top.yaml\n"},
        {"top": "_BASE_: a.yaml\n", "a": "_BASE_: b.yaml\n", "b": "_BASE_: ./a.yaml\n"},
    ],
)
def test_circles_are_errors_that_show_the_way(tmp_path, texts):
    _write(tmp_path, **texts)
    with pytest.raises(ConfigError, match=r"_BASE_.*\.yaml -> .*\.yaml"):
        read_with_bases(tmp_path / "top.yaml")


def test_a_missing_file_is_named_with_the_file_that_wants_it(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        read_with_bases(tmp_path / "gone.yaml")
    _write(tmp_path, top="_BASE_: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"gone\.yaml.*_BASE_.*top\.yaml"):
        read_with_bases(tmp_path / "top.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A: [1\n", r"bad\.yaml (?s:.*)line 2"),
        ("- 1\n- 2\n", r"bad\.yaml .*got list"),
        ("just words\n", r"bad\.yaml .*got str"),
        ("_BASE_: 3\n", r"bad\.yaml: _BASE_ .*got 3"),
        ("_BASE_: [{}]\n", r"bad\.yaml: _BASE_ .*got \{\}"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, text, message):
    _write(tmp_path, bad=text)
    with pytest.raises(ConfigError, match=message):
        read_with_bases(tmp_path / "bad.yaml")


def test_a_folder_is_not_a_configuration(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
        read_with_bases(tmp_path)


def test_yaml_cannot_run_code(tmp_path):
    _write(tmp_path, bad=f"A: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read_with_bases(tmp_path / "bad.yaml")
    assert not (tmp_path / "made").exists()
