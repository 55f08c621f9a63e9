"""Functions fit on a screen and files in a head."""

from pathlib import Path

import pytest

from tests.contract.source_tree import ROOT, functions, python_files, where

MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 400
CODE = python_files(
    "maskrcnn_benchmark", "centermask_runtime", "tools", "tests", "benchmarks", "docs"
)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE_LINES, f"{path.relative_to(ROOT)} has {lines} lines"
    long = [
        f"{where(path, node)} {node.name}: {length} lines"
        for node in functions(path)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long, long


def test_operator_sources_are_short():
    sources = [
        path
        for suffix in (".cpp", ".h", ".cu", ".cuh")
        for path in (ROOT / "csrc").rglob(f"*{suffix}")
    ]
    long = [path.name for path in sources if len(path.read_text().splitlines()) > MAX_FILE_LINES]
    assert not long, long
