"""The configuration stops at the builders: below them, everything is a typed argument."""

import ast
import re

import pytest

from tests.contract.source_tree import PACKAGE, ROOT, files, tree, where

BUILDER = re.compile(r"_?(build|make)(_\w+)?|from_config")
# Entry points of the original whose signatures have a ``cfg`` that users' scripts pass.
COMPATIBLE_ENTRY_POINTS = {
    "engine/trainer.py": {"do_train"},
    "weights/checkpoint.py": {"DetectronCheckpointer"},
}


def _is_settings(annotation: ast.expr | None) -> bool:
    return annotation is not None and "CfgNode" in ast.unparse(annotation)


class _SettingsFinder(ast.NodeVisitor):
    """Collects what takes or keeps a tree of settings, outside what may: builders take it."""

    def __init__(self, allowed: set[str]) -> None:
        self.allowed = allowed
        self.found: list[ast.AST] = []
        self._of_builder: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in self.allowed:
            return
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        settings = [argument for argument in arguments if _is_settings(argument.annotation)]
        if not BUILDER.fullmatch(node.name):
            self.found += settings
        self._of_builder += [argument.arg for argument in settings]
        self.generic_visit(node)
        del self._of_builder[len(self._of_builder) - len(settings) :]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.name not in self.allowed:
            self.found += [
                each
                for each in node.body
                if isinstance(each, ast.AnnAssign) and _is_settings(each.annotation)
            ]
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        keeps = any(isinstance(target, ast.Attribute) for target in node.targets)
        if keeps and isinstance(node.value, ast.Name) and node.value.id in self._of_builder:
            self.found.append(node)


def settings_below_builders(module: ast.Module, allowed: set[str]) -> list[ast.AST]:
    """Arguments, fields and attributes that carry a ``CfgNode`` past the builders."""
    finder = _SettingsFinder(allowed)
    finder.visit(module)
    return finder.found


def test_settings_stay_in_builders():
    wrong = []
    for path in files(PACKAGE, ".py"):
        inside = path.relative_to(ROOT / PACKAGE)
        if inside.parts[0] != "config":
            allowed = COMPATIBLE_ENTRY_POINTS.get(str(inside), set())
            found = settings_below_builders(tree(path), allowed)
            wrong += [where(path, node) for node in found]
    assert not wrong, "take typed arguments instead of the configuration:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "is_wrong"),
    [
        ("def build_x(cfg: CfgNode): return cfg.MODEL", False),
        ("class A:\n def from_config(cls, cfg: CfgNode): return cls(size=cfg.S)", False),
        ("def load(path: str) -> CfgNode:\n cfg = default()\n return cfg", False),
        ("def forward(self, cfg: CfgNode): pass", True),
        ("def forward(self, options: 'CfgNode | None'): pass", True),
        ("def build_x(cfg: CfgNode): self.cfg = cfg", True),
        ("def build_x(cfg: CfgNode):\n def inner(more: CfgNode): pass", True),
        ("class A:\n settings: CfgNode", True),
    ],
)
def test_a_breach_is_seen(source: str, is_wrong: bool):
    assert bool(settings_below_builders(ast.parse(source), set())) == is_wrong
