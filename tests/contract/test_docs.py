"""The pages are true: links lead somewhere, files and commands exist, generated pages are fresh."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import markdown
from tests.contract.source_tree import ROOT

PAGES = markdown.pages()


def _make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path):
    broken = [target.text for target in markdown.links(page) if not markdown.resolves(target)]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path):
    missing = [
        target.text for target in markdown.project_paths(page) if not (ROOT / target.text).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_commands_exist(page: Path):
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join(markdown.commands(page))))
    assert named <= _make_targets()


def test_readme_gives_the_commands_that_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    (targets,) = re.findall(r"^for target in (.*); do$", ci, re.MULTILINE)
    assert {"setup", "lint", "type", "test", "test-slow", "test-abi"} <= set(targets.split())
    assert set(targets.split()) <= _make_targets()
    readme = markdown.commands(ROOT / "README.md")
    assert {"make demo", "make test"} <= {command.split("#")[0].strip() for command in readme}


def test_the_makefile_lists_every_target_in_its_help():
    text = (ROOT / "Makefile").read_text()
    helped = set(re.findall(r'^\t@echo "make ([a-z-]+) ', text, re.MULTILINE))
    assert helped == _make_targets() - {"help"}


def test_the_generated_pages_are_fresh():
    page = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    assert page["CONFIG_REFERENCE"].read_text() == page["config_reference"](), "run: make docs"
    assert page["MODEL_ZOO_PAGE"].read_text() == page["model_zoo"](), "run: make docs"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if markdown.blocks(page, "python")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_python_on_pages_runs(page: Path):
    program = "\n".join(markdown.blocks(page, "python"))
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("*.py")), ids=lambda tool: tool.name)
def test_options_that_pages_use_exist(tool: Path, capsys: pytest.CaptureFixture[str]):
    used = {
        option
        for page in PAGES
        for command in markdown.commands(page)
        if f"tools/{tool.name}" in command
        for option in re.findall(r"(?<=\s)--[a-z-]+", command.split(tool.name, 1)[1])
    }
    with pytest.raises(SystemExit):
        runpy.run_path(str(tool))["parse_args"](["--help"])
    assert used <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
