"""What the project's Markdown pages point at: links, files, commands."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.contract.source_tree import ROOT, committed_files

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_FOLDERS = ("maskrcnn_benchmark", "configs", "tools", "csrc", "tests", "benchmarks", "docs")
_PROJECT_PATH = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[\w./-]*")


class Target(NamedTuple):
    """Something a page points at."""

    page: Path
    text: str


def pages() -> list[Path]:
    """Every Markdown page of the project."""
    return [path for path in committed_files() if path.suffix == ".md"]


def without_code(text: str) -> str:
    """The page's text without its fenced blocks."""
    return _FENCE.sub("", text)


def links(page: Path) -> list[Target]:
    """Link targets of a page, web addresses left out."""
    found = _LINK.findall(without_code(page.read_text(encoding="utf-8")))
    return [Target(page, link) for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """Names of a page's headings as a link spells them."""
    headings = re.findall(r"^#+\s+(.*)$", without_code(page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def blocks(page: Path, *languages: str) -> list[str]:
    """Bodies of a page's fenced blocks in the given languages."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [body for language, body in found if language in languages]


def commands(page: Path) -> list[str]:
    """Command lines of a page's shell blocks, continued lines joined."""
    lines = "\n".join(blocks(page, "bash", "sh")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def code(page: Path) -> list[str]:
    """Pieces of code inside a page's sentences."""
    return _CODE.findall(without_code(page.read_text(encoding="utf-8")))


def project_paths(page: Path) -> list[Target]:
    """Paths of project files that a page spells out in code or commands."""
    pieces = [*code(page), *commands(page)]
    found = {path.rstrip(".") for piece in pieces for path in _PROJECT_PATH.findall(piece)}
    return [Target(page, path) for path in sorted(found)]


def resolves(target: Target) -> bool:
    """Whether a link's file, and its heading if it names one, exist."""
    name, _, anchor = target.text.partition("#")
    path = (target.page.parent / name).resolve() if name else target.page
    if not path.is_relative_to(ROOT) or not path.exists():
        return False
    return not anchor or anchor in anchors(path)
