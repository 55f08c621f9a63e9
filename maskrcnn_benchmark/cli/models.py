"""List the models that can be trained, by the names that --model takes.

Parameters and GFLOPs (multiply-adds of one padded test image) were measured here. AP is on COCO, in
percent, as the authors of the models published it. A model starts from ImageNet weights: those of
torchvision and timm are downloaded, "bundled" ones are in the package. Models of torchvision and
detectron2 are trained: with their weights, which are downloaded, they find COCO's classes at once.

For example:
  centermask models
  centermask models lite
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from maskrcnn_benchmark.cli.arguments import make_parser
from maskrcnn_benchmark.config.shipped import MODELS, ShippedModel, zoo_row
from maskrcnn_benchmark.config.yaml_files import read_with_bases

_HEADER = ("model", "parameters", "GFLOPs", "mask AP", "box AP", "starts from")


def main(words: Sequence[str]) -> int:
    """The exit code: 0, 1 if no name has the text in it."""
    parser = make_parser("models", __doc__)
    parser.add_argument("text", nargs="?", default="", help="list only names with this in them")
    text = parser.parse_args(words).text.lower()
    rows = [_row(name, model) for name, model in MODELS.items() if text in name]
    if not rows:
        sys.stderr.write(f"no model has {text!r} in its name\n")
        return 1
    sys.stdout.write(_table([_HEADER, *rows]))
    return 0


def _row(name: str, model: ShippedModel) -> tuple[str, ...]:
    zoo = zoo_row(model) or {}
    measured = zoo.get("measured")
    return (
        name,
        f"{measured['parameters'] / 1e6:.1f} M" if measured else "-",
        f"{measured['multiply_adds'] / 1e9:.0f}" if measured else "-",
        _ap(zoo, "mask"),
        _ap(zoo, "box"),
        _origin(model.weights or _weights_of_file(model)),
    )


def _ap(zoo: Mapping[str, Any], kind: str) -> str:
    scores = zoo.get(kind)
    return f"{scores['AP']:.1f} {zoo['split'] or ''}".rstrip() if scores else "-"


def _origin(weights: str) -> str:
    """Where weights to start from lie, in few words."""
    if not weights:
        return "random weights"
    library, _, name = weights.removeprefix("catalog://").partition("/")
    if "://" not in weights or weights.startswith("catalog://"):
        return "bundled" if library == "quickstart" else f"{library}: {name}"
    return f"{urlsplit(weights).netloc} (may be gone)"


def _weights_of_file(model: ShippedModel) -> str:
    """MODEL.WEIGHT in the file; its many settings need not be merged for it."""
    found = [content.get("MODEL", {}).get("WEIGHT") for _, content in read_with_bases(model.path)]
    return next((weights for weights in reversed(found) if weights is not None), "")


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)
