"""Comments that carry a promise: deviations, silenced checks, to-dos."""

import ast
import re
import tokenize
from pathlib import Path

from tests.contract.source_tree import ROOT, committed_files, functions, python_files, where

CODE = python_files("maskrcnn_benchmark", "tools")
UPSTREAM = re.compile(r"UPSTREAM\((?P<tag>[a-z0-9-]+)\): \S")


def _comments(path: Path) -> list[tuple[int, str]]:
    with path.open("rb") as source:
        tokens = list(tokenize.tokenize(source.readline))
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def test_every_deviation_from_the_original_says_what_and_has_its_test():
    tests = [
        ast.get_source_segment(path.read_text(), node) or ""
        for path in python_files("tests")
        if path.name.startswith("test_") and "upstream" in path.read_text().lower()
        for node in functions(path)
        if node.name.startswith("test_")
    ]
    tested = {
        tag for test in tests for tag in re.findall(r"upstream(?:: |\()([a-z0-9-]+)", test, re.I)
    }
    wrong = []
    for path in CODE:
        comments = [(line, text) for line, text in _comments(path) if "UPSTREAM" in text]
        if path.read_text().count("UPSTREAM") != len(comments):
            wrong.append(f"{where(path, 0)} keep UPSTREAM for comments, one tag in each")
        for line, text in comments:
            match = UPSTREAM.search(text)
            if match is None:
                wrong.append(f"{where(path, line)} write 'UPSTREAM(tag): what differs'")
            elif match["tag"] not in tested:
                wrong.append(f"{where(path, line)} no test says 'upstream: {match['tag']}'")
    assert not wrong, "\n".join(wrong)


def test_silenced_checks_name_their_code():
    noqa = r"noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*\s+[-#] \w.*"
    ignore = r"type: ignore\[[\w, -]+\].*"
    good = re.compile(rf"#\s*({noqa}|{ignore})")
    wrong = [
        f"{where(path, line)} {comment}"
        for path in CODE
        for line, comment in _comments(path)
        if re.search(r"#\s*(noqa|type:\s*ignore)", comment) and not good.fullmatch(comment)
    ]
    assert not wrong, "write 'noqa: CODE - reason' or 'type: ignore[code]':\n" + "\n".join(wrong)


def test_no_comment_names_the_folders_of_one_machine():
    """The checkout itself, and working folders beside it that nobody else has."""
    pattern = re.compile(rf"(?<![\w.]){re.escape(str(ROOT))}\b|(?<![\w.])/work/\w|\bshared/")
    suffixes = {".py", ".md", ".toml", ".yaml", ".txt", ".cpp", ".h", ".cu", ".csv", ".cfg"}
    wrong = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in committed_files()
        if path.suffix in suffixes or path.name in {"Makefile", "run", "NOTICE"}
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not wrong, "\n".join(wrong)
