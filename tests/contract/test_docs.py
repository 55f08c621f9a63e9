"""The pages are true: links lead somewhere, files and commands exist."""

import re
from pathlib import Path

import pytest

from tests.contract import markdown
from tests.contract.source_tree import ROOT

PAGES = markdown.pages()
MAKEFILE = (ROOT / "Makefile").read_text()
MAKE_TARGETS = set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.MULTILINE))
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_links_resolve(page: Path):
    broken = [target.text for target in markdown.links(page) if not markdown.resolves(target)]
    assert not broken


@every_page
def test_named_files_exist(page: Path):
    missing = [
        target.text for target in markdown.project_paths(page) if not (ROOT / target.text).exists()
    ]
    assert not missing


@every_page
def test_make_commands_exist(page: Path):
    code = [*markdown.commands(page), *markdown.code(page)]
    named = set(re.findall(r"(?<![\w-])make ([a-z][a-z-]*)", "\n".join(code)))
    assert named <= MAKE_TARGETS


def test_the_makefile_lists_every_target_in_its_help():
    helped = set(re.findall(r'^\t@echo "make ([a-z-]+) ', MAKEFILE, re.MULTILINE))
    assert helped == MAKE_TARGETS - {"help"}


def test_ci_runs_every_target_that_tests():
    (called,) = re.findall(r"^for target in (.*); do$", (ROOT / ".ci" / "run").read_text(), re.M)
    tests = {target for target in MAKE_TARGETS if target.startswith("test")}
    tests -= {"test-gpu"}  # needs a device; a slow test walks through it
    assert tests | {"setup", "lint", "type"} <= set(called.split()) <= MAKE_TARGETS
