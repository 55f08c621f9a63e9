"""Facts about the project as a whole: pins, bundled files, what is committed."""

import ast
import csv
import re
import sys

from tests.contract.source_tree import PACKAGE, ROOT, committed_files, is_old_path, tree

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None, requirement
    return match[0].lower().replace("_", "-")


def _pins(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {_name(line) for line in lines if line and line[0] not in "#-"}


def test_the_package_has_no_exception_from_the_linters():
    # Old import paths need no docstring: each is one line, ``from NEW.PLACE import *``.
    exceptions = PYPROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    for pattern in (pattern for pattern in exceptions if pattern.startswith(PACKAGE)):
        assert set(exceptions[pattern]) <= {"D100", "D104"}, pattern
        without = [path for path in ROOT.glob(pattern) if not ast.get_docstring(tree(path))]
        assert without, f"{pattern} excepts nothing"
        assert all(is_old_path(path) for path in without), pattern
    of_mypy = [name for each in PYPROJECT["tool"]["mypy"]["overrides"] for name in each["module"]]
    assert not [name for name in of_mypy if name.startswith(PACKAGE)]


def test_every_runtime_dependency_is_pinned_for_the_tests():
    declared = {_name(requirement) for requirement in PYPROJECT["project"]["dependencies"]}
    assert declared == _pins("runtime.txt")


def test_every_pinned_requirement_is_exact():
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in path.read_text().splitlines():
            if line and line[0] not in "#-":
                assert re.match(r"[\w.-]+==[\w.]+(; .+)?$", line), f"{path.name}: {line}"


def test_no_requirement_names_a_server():
    texts = [path.read_text() for path in (ROOT / "requirements").glob("*.txt")]
    texts.append((ROOT / "Makefile").read_text())
    assert not any("://" in text or "index-url" in text for text in texts)


def test_bundled_photos_have_their_attribution():
    folder = ROOT / "datasets" / "quickstart"
    with (folder / "ATTRIBUTION.csv").open() as table:
        credited = {(row["split"], row["file"]) for row in csv.DictReader(table)}
    bundled = {(path.parent.name, path.name) for path in folder.glob("*/*.jpg")}
    assert bundled == credited
    notice = (ROOT / "NOTICE").read_text()
    assert "datasets/quickstart/ATTRIBUTION.csv" in notice
    for photo in (ROOT / "tests" / "golden" / "images").glob("*.jpg"):
        assert photo.stem in notice, f"NOTICE does not credit {photo.name}"


def test_the_boards_carry_their_licence():
    licence = (ROOT / "datasets" / "boards" / "LICENSE").read_text()
    assert "Copyright (c) 2019 Gilbert Tanner" in licence
    notice = " ".join((ROOT / "NOTICE").read_text().split())
    assert " ".join(licence.split("\n", 2)[2].split()) in notice


def test_no_committed_file_is_huge():
    assert not [path for path in committed_files() if path.stat().st_size > 8_000_000]


def test_nothing_built_is_committed():
    built = {".so", ".o", ".pyc", ".pth", ".pkl"}
    assert not [path for path in committed_files() if path.suffix in built]


def test_the_oldest_pytorch_that_is_allowed_is_the_one_tested():
    tested = re.search(
        r"^LOWEST_TORCH \?= (\d+\.\d+)\.", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    allowed = re.search(
        r'^ *"torch>=([\d.]+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert tested is not None
    assert allowed is not None
    assert tested[1] == allowed[1]


def test_the_runtime_alone_is_of_the_same_version_and_needs_what_it_imports():
    alone = tomllib.loads((ROOT / "centermask_runtime" / "pyproject.toml").read_text())["project"]
    assert alone["version"] == PYPROJECT["project"]["version"]
    assert {_name(one) for one in alone["dependencies"]} == {"numpy", "onnxruntime", "pillow"}
    ranges = {*PYPROJECT["project"]["dependencies"]}
    ranges |= {*PYPROJECT["project"]["optional-dependencies"]["onnx"]}
    assert set(alone["dependencies"]) <= ranges
