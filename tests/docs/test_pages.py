"""The pages that show a program or an option are run, and the generated ones are fresh."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import markdown
from tests.contract.source_tree import ROOT

PAGES = markdown.pages()


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
    # pycocotools 2.0.11 with numpy 2.4, as in pyproject.toml.
    known = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    command = [sys.executable, "-W", "error", "-W", known, "-c", program]
    subprocess.run(command, cwd=ROOT, check=True)


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
