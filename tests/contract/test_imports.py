"""Imports point one way: structures, layers -> modeling -> detector -> engine -> cli, tools."""

import ast
import sys
from pathlib import Path

import pytest

from tests.contract.source_tree import (
    PACKAGE,
    ROOT,
    RUNTIME,
    files,
    imported_modules,
    is_old_path,
    module_name,
    python_files,
    tree,
    where,
)

# Each room, and the rooms that it may import from (itself always). A room's name is its dotted
# path inside the package; the longest that fits a module is its room.
_BASE = {"config.errors", "layers.pixel"}
ALLOWED: dict[str, set[str]] = {
    "config.errors": set(),
    "layers.pixel": set(),
    "config": _BASE,
    "layers": _BASE,
    "structures": _BASE | {"layers"},
    "utils": _BASE | {"config", "layers", "structures"},
    "solver": _BASE | {"config", "utils"},
    "weights": _BASE | {"config", "utils"},
    "evaluation": _BASE | {"config", "layers", "structures", "utils"},
    "data": _BASE | {"config", "evaluation", "structures", "utils"},
    "modeling": _BASE | {"config", "layers", "structures"},
    "modeling.detector": _BASE | {"config", "layers", "structures", "modeling"},
    "visualization": _BASE | {"config", "data", "evaluation", "structures", "utils"},
    "prediction": _BASE | {"config", "data", "engine", "structures", "utils", "visualization"},
    "serve": _BASE | {"config", "data", "engine", "structures", "visualization"},
    "timing": _BASE | {"config", "data", "engine", "export", "layers", "structures", "utils"},
    "export": _BASE
    | {
        "config",
        "data",
        "engine",
        "layers",
        "modeling",
        "modeling.detector",
        "structures",
        "utils",
        "visualization",
        "weights",
    },
    "cli": _BASE
    | {
        "config",
        "data",
        "engine",
        "export",
        "prediction",
        "serve",
        "timing",
        "utils",
        "visualization",
        "weights",
    },
    "engine": _BASE
    | {
        "config",
        "data",
        "evaluation",
        "layers",
        "modeling",
        "modeling.detector",
        "solver",
        "structures",
        "utils",
        "visualization",
        "weights",
    },
}


def _room(module: str) -> str | None:
    inside = module.removeprefix(f"{PACKAGE}.")
    fitting = [room for room in ALLOWED if inside == room or inside.startswith(f"{room}.")]
    return max(fitting, key=len, default=None)


def wrong_imports(path: Path) -> list[str]:
    """The imports of a file of the package that point against the arrow."""
    room = _room(module_name(path))
    if room is None or is_old_path(path):
        return []
    wrong = []
    for line, name in imported_modules(path):
        target = _room(name)
        if target is not None and target != room and target not in ALLOWED[room]:
            wrong.append(f"{where(path, line)} {room} imports {name}")
    return wrong


def test_every_module_has_a_room():
    homeless = [
        module_name(path)
        for path in files(PACKAGE, ".py")
        if module_name(path) != PACKAGE and _room(module_name(path)) is None
    ]
    assert not homeless, f"name their room in ALLOWED: {homeless}"


def test_imports_follow_the_arrow():
    wrong = [message for path in files(PACKAGE, ".py") for message in wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def test_the_runtime_stands_on_three_packages_alone():
    known = {RUNTIME, "numpy", "onnxruntime", "PIL", *sys.stdlib_module_names}
    wrong = [
        f"{where(path, node)} {name}"
        for path in files(RUNTIME, ".py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
        if name.split(".")[0] not in known
    ]
    assert not wrong, wrong


def test_the_package_never_imports_tools_or_tests():
    wrong = [
        where(path, node)
        for path in files(PACKAGE, ".py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name]
        if name.split(".")[0] in {"tools", "tests", "benchmarks"}
    ]
    assert not wrong, wrong


def test_the_global_config_is_imported_by_tools_and_tests_only():
    wrong = [
        f"{where(path, line)} {name}"
        for path in python_files(PACKAGE)
        if path != ROOT / PACKAGE / "config" / "__init__.py"
        for line, name in imported_modules(path)
        if name in {f"{PACKAGE}.config.cfg", f"{PACKAGE}.config.defaults._C"}
    ]
    assert not wrong, "take cfg as an argument of a builder instead:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "is_wrong"),
    [
        ("from maskrcnn_benchmark.modeling import poolers", True),
        ("from ..modeling.poolers import Pooler", True),
        ("import maskrcnn_benchmark.engine.trainer", True),
        ("from maskrcnn_benchmark.config.errors import ConfigError", False),
        ("from maskrcnn_benchmark.layers.nms import nms", False),
        ("import torch", False),
    ],
)
def test_an_import_against_the_arrow_is_seen(
    source: str, is_wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tests.contract.source_tree.ROOT", tmp_path)
    path = tmp_path / PACKAGE / "layers" / "example.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert bool(wrong_imports(path)) == is_wrong


def test_the_house_rules_are_read_from_files_alone():
    """They run before every commit; what imports PyTorch takes seconds and belongs elsewhere."""
    heavy = {PACKAGE, "torch"}
    wrong = [
        where(path, node)
        for path in python_files("tests/contract")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or node.names[0].name]
        if name.split(".")[0] in heavy
    ]
    assert not wrong, wrong
