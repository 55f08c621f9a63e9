"""Write the pages of docs/ that are made from the code: `python docs/generate.py`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from maskrcnn_benchmark.config import CfgNode, get_default_config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs import comparison  # noqa: E402  # a script knows only its own folder
from docs.zoo_page import model_zoo  # noqa: E402

MODEL_ZOO_PAGE = ROOT / "docs" / "model_zoo.md"
CONFIG_REFERENCE = ROOT / "docs" / "config_reference.md"
DEFAULTS_FILES = ("defaults.py", "defaults_model.py", "defaults_heads.py")

HEADER = """\
# Settings

<!-- Made from the comments in maskrcnn_benchmark/config/defaults*.py by docs/generate.py. -->

Every key that a YAML file or the command line can set, with its default. Keys keep the names,
types and defaults of the original program; the comments say what each means. Unknown keys are
errors. On the command line, write keys and values behind the other arguments, for example
`SOLVER.BASE_LR 0.005 DATALOADER.NUM_WORKERS 2`.
"""


def key_comments(source: str) -> dict[str, str]:
    """Dotted key -> the comment in front of its assignment `_C.KEY = ...`, as one line."""
    lines = source.splitlines()
    comments = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        key = ast.unparse(node.targets[0]).removeprefix("_C.")
        above: list[str] = []
        number = node.lineno - 2
        while number >= 0 and lines[number].startswith("#"):
            above.insert(0, lines[number].lstrip("# "))
            number -= 1
        if above:
            comments[key] = " ".join(above)
    return comments


def sections(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, list[tuple[str, object]]]]:
    """(name of a node, its own keys and values) for the node and all below, parents first."""
    own = [(key, value) for key, value in node.items() if not isinstance(value, CfgNode)]
    if own:
        yield prefix, own
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from sections(value, f"{prefix}.{key}" if prefix else key)


def config_reference() -> str:
    """The text of docs/config_reference.md.

    Raises:
        ValueError: if a key has no comment that says what it means.
    """
    folder = ROOT / "maskrcnn_benchmark" / "config"
    comments: dict[str, str] = {}
    for name in DEFAULTS_FILES:
        comments |= key_comments((folder / name).read_text(encoding="utf-8"))
    parts = [HEADER]
    for prefix, keys in sections(get_default_config()):
        parts.append(f"\n## {prefix or 'Top level'}\n")
        if prefix in comments:
            parts.append(f"\n{comments[prefix]}\n")
        parts.append("\n| key | default | meaning |\n|---|---|---|\n")
        for key, value in keys:
            full = f"{prefix}.{key}" if prefix else key
            if full not in comments:
                raise ValueError(f"{full} has no comment in front of it in {folder}")
            meaning = comments[full].replace("|", "\\|")
            parts.append(f"| `{full}` | `{value!r}` | {meaning} |\n")
    return "".join(parts)


def main() -> int:
    """0 after writing the generated pages."""
    pages = {
        CONFIG_REFERENCE: config_reference(),
        MODEL_ZOO_PAGE: model_zoo(),
        comparison.PAGE: comparison.comparison(),
    }
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    comparison.draw_comparison()
    print(f"wrote {comparison.PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
