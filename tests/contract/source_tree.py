"""The project's own files, read as text and as syntax trees, for the tests of the house rules."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "maskrcnn_benchmark"
RUNTIME = "centermask_runtime"
"""The part that needs no PyTorch; the package stands on it."""
_GENERATED_FOLDERS = {".venv", "build", "dist", "output", "__pycache__"}


@cache
def files(folder: str, suffix: str) -> tuple[Path, ...]:
    """Files below ``folder`` (relative to the root) that end with ``suffix``, sorted."""
    found = (ROOT / folder).rglob(f"*{suffix}")
    return tuple(
        sorted(path for path in found if not _GENERATED_FOLDERS & set(path.relative_to(ROOT).parts))
    )


def python_files(*folders: str) -> list[Path]:
    """All Python files below the folders."""
    return [path for folder in folders for path in files(folder, ".py")]


def committed_files() -> list[Path]:
    """Files that git knows, or every file when this is not a git work tree."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        return list(files(".", ""))
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


@cache
def tree(path: Path) -> ast.Module:
    """Syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """Dotted name of a Python file, such as ``maskrcnn_benchmark.layers.nms``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def where(path: Path, node: ast.AST | int) -> str:
    """``file:line`` of a node, for messages."""
    line = node if isinstance(node, int) else getattr(node, "lineno", 0)
    return f"{path.relative_to(ROOT)}:{line}"


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, methods and nested ones included."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree(path)) if isinstance(node, kinds)]


def imported_modules(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of each module or name of this package that a file imports."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute_base(path, node)
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] == PACKAGE]


def _absolute_base(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = list(path.relative_to(ROOT).parts[:-1])
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def is_old_path(path: Path) -> bool:
    """Whether all that a file does is to give a module's names under the path it once had."""
    return [ast.unparse(node).endswith(" import *") for node in tree(path).body] == [True]
