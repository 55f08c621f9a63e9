"""The tests lie where what they test lies, and lean on helpers alone."""

import ast

from tests.contract.source_tree import PACKAGE, ROOT, python_files, tree, where

# What belongs to the project as a whole, or to the original that it keeps to.
WHOLE = {"compat", "contract", "emu", "golden", "parity"}


def test_the_folders_mirror_the_package():
    stray = []
    for path in python_files("tests"):
        folder = path.parent.relative_to(ROOT / "tests")
        places = (ROOT / PACKAGE / folder, ROOT / folder)
        if path.name.startswith("test_") and not any(place.is_dir() for place in places):
            stray.append(path.relative_to(ROOT))
    assert not [path for path in stray if path.parts[1] not in WHOLE]


def test_no_test_module_imports_another():
    wrong = [
        where(path, node)
        for path in python_files("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.")
        if any(
            name.startswith("test_")
            for name in [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        )
    ]
    assert not wrong, "move what they share to a module of its own: " + ", ".join(wrong)
