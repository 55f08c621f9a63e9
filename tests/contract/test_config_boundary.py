"""The configuration stops at the builders: below them, everything is a typed argument."""

import ast
import re
from pathlib import Path

import pytest

from tests.contract.source_tree import PACKAGE, ROOT, files, where

BUILDER = re.compile(r"_?(build|make)(_\w+)?|from_config")
# Entry points of the original whose signatures have a `cfg` that users' scripts pass.
COMPATIBLE_ENTRY_POINTS = {
    "engine/trainer.py": {"do_train"},
    "weights/checkpoint.py": {"DetectronCheckpointer"},
}


class _CfgFinder(ast.NodeVisitor):
    """Collects uses of the name `cfg` outside the functions that may read it."""

    def __init__(self, allowed: set[str]) -> None:
        self.allowed = allowed
        self.found: list[ast.AST] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name not in self.allowed and not BUILDER.fullmatch(node.name):
            self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.name not in self.allowed:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == "cfg":
            self.found.append(node)

    def visit_arg(self, node: ast.arg) -> None:
        if node.arg == "cfg":
            self.found.append(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in {"cfg", "_cfg"}:
            self.found.append(node)
        self.generic_visit(node)


def cfg_outside_builders(tree: ast.Module, allowed: set[str]) -> list[ast.AST]:
    """Nodes that use `cfg` where it must not be used, anywhere `self.cfg` among them."""
    finder = _CfgFinder(allowed)
    finder.visit(tree)
    stored = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "cfg" and node not in finder.found
        if isinstance(node.ctx, ast.Store)
    ]
    return finder.found + stored


@pytest.mark.parametrize("path", files(PACKAGE, ".py"), ids=lambda p: str(p.relative_to(ROOT)))
def test_cfg_stays_in_builders(path: Path):
    inside = path.relative_to(ROOT / PACKAGE)
    if inside.parts[0] == "config":
        return
    allowed = COMPATIBLE_ENTRY_POINTS.get(str(inside), set())
    found = cfg_outside_builders(ast.parse(path.read_text()), allowed)
    assert not found, [where(path, node) for node in found]


@pytest.mark.parametrize(
    ("source", "is_wrong"),
    [
        ("def build_x(cfg): return cfg.MODEL", False),
        ("class A:\n @classmethod\n def from_config(cls, cfg): return cls(size=cfg.S)", False),
        ("def forward(self, cfg): pass", True),
        ("def build_x(cfg): self.cfg = cfg", True),
        ("class A:\n def run(self): return self.cfg.MODEL", True),
        ("size = cfg.MODEL.SIZE", True),
    ],
)
def test_a_breach_is_seen(source: str, is_wrong: bool):
    assert bool(cfg_outside_builders(ast.parse(source), set())) == is_wrong
