"""Facts about the project as a whole: settings of the tools, pins, bundled files."""

import csv
import re
import sys

from tests.contract.source_tree import ROOT, committed_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUFF_RULES = {
    *("E", "F", "W", "I", "UP", "B", "SIM", "RET", "PIE", "PT", "ARG", "ERA", "T20", "BLE", "C90"),
    *("N", "D", "ANN", "PLR0915", "PLW0603", "NPY", "PERF", "RUF", "TD"),
}


def _name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None, requirement
    return match[0].lower().replace("_", "-")


def _pins(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {_name(line) for line in lines if line and line[0] not in "#-"}


def test_the_linters_stay_strict():
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    assert set(lint["select"]) >= RUFF_RULES
    assert set(lint["ignore"]) <= {"D105", "D107", "F403", "TD002", "N812"}
    package = {key for key in lint["per-file-ignores"] if key.startswith("maskrcnn_benchmark")}
    assert not package
    assert PYPROJECT["tool"]["mypy"]["strict"] is True
    assert PYPROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"][0] == "error"


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


def test_no_committed_file_is_huge():
    assert not [path for path in committed_files() if path.stat().st_size > 8_000_000]


def test_nothing_built_is_committed():
    built = {".so", ".o", ".pyc", ".pth", ".pkl"}
    assert not [path for path in committed_files() if path.suffix in built]


def _make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    phony = re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def test_make_help_lists_every_target():
    listed = set(re.findall(r'@echo "make ([\w-]+) ', (ROOT / "Makefile").read_text()))
    assert listed == _make_targets() - {"help"}


def test_the_checks_are_targets_that_anybody_can_run():
    script = (ROOT / ".ci" / "run").read_text()
    loop = re.search(r"^for target in (.*); do$", script, re.MULTILINE)
    assert loop is not None
    called = set(loop[1].split())
    assert called <= _make_targets()
    tests = {target for target in _make_targets() if target.startswith("test")}
    assert called == tests | {"setup", "lint", "type"}


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


def test_the_pages_name_only_targets_that_exist():
    pages = [ROOT / name for name in ("README.md", "INSTALL.md", "CONTRIBUTING.md")]
    for page in [*pages, *(ROOT / "docs").glob("*.md"), *(ROOT / "csrc").glob("*.md")]:
        named = set(re.findall(r"(?<![\w-])make ([a-z][\w-]*)(?=[`\s])", _code(page.read_text())))
        assert named <= _make_targets(), f"{page.name}: {named - _make_targets()}"


def _code(text: str) -> str:
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
