"""The command ``centermask``: one module a sub-command, which is imported when it is called.

Nothing here imports PyTorch, so that help and wrong words are answered at once.
"""

import difflib
import importlib
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from maskrcnn_benchmark import __version__
from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.utils.processor import prepare_process

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "train": "train a model on a folder of annotated photos",
        "test": "measure a trained model",
        "predict": "draw what a trained model finds on photos and videos",
        "serve": "show what a trained model finds, on a page in the browser",
        "check-data": "look through annotated photos for what would go wrong",
        "convert": "convert weight files of other programs",
        "models": "list the models that can be trained",
        "export": "write a trained model to a file that other programs run",
        "benchmark": "time a trained model on this machine, stage by stage",
        "env": "tell what this installation runs on",
    }
)
"""Name of each sub-command, whose module has a function ``main``, and what it does."""

_EXAMPLE: Final = """\
examples, from a folder of annotated photos to masks on new ones:
  centermask check-data my_photos
  centermask train --data my_photos --output run
  centermask predict run/model_best.pth new_photos --output drawn
  centermask serve run/model_best.pth
"""


def overview() -> str:
    """The help of the command as a whole."""
    width = max(map(len, COMMANDS))
    listed = "".join(f"  {name:{width}}  {what}\n" for name, what in COMMANDS.items())
    return (
        "usage: centermask COMMAND ...\n\n"
        "Find the objects in photos and the outline of each.\n\n"
        f"commands (`centermask COMMAND --help` tells more):\n{listed}\n{_EXAMPLE}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 if something given cannot be used; sub-commands have more."""
    if arguments is None:
        prepare_process()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"centermask {__version__}\n")
        return 0
    if words[0] not in COMMANDS:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        sys.stderr.write(
            f"centermask: unknown command {words[0]!r}{hint} Known: {', '.join(COMMANDS)}\n"
        )
        return 2
    module = importlib.import_module(f"{__name__}.{words[0].replace('-', '_')}")
    with plain_errors():
        code: int = module.main(words[1:])
    return code
