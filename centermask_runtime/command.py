"""Draw what an exported model finds on photos, without PyTorch.

PHOTOS are files, folders (searched with their subfolders) or patterns ("photos/*.jpg"). MODEL is a
file that `centermask export --format onnx` has written. Drawings go to --output, and so does what
else is asked for:
  --save-json   predictions.json: COCO results, each with file name and class name
  --save-masks  masks/PHOTO.png: pixels of the k-th object are k, the best is 1
  --crops       crops/CLASS/PHOTO_k.png: the object alone, on transparent ground

For example:
  centermask-runtime model.onnx photos/ --output drawn --save-json
  python -m centermask_runtime model.onnx photo.jpg --threshold 0.3
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from centermask_runtime.errors import ConfigError, UserError
from centermask_runtime.photo_files import find_photos

if TYPE_CHECKING:
    from centermask_runtime.outputs import Outputs

logger = logging.getLogger(__name__)

_INTERRUPTED = 130


class HasThreshold(Protocol):
    """A predictor that says what is worth showing."""

    @property
    def score_threshold(self) -> float:
        """From which score on."""
        ...


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Let it be chosen what is kept of each photo, and where."""
    add = parser.add_argument
    add("--output", type=Path, default=Path("predictions"), metavar="DIR")
    add("--threshold", type=float, metavar="T", help="least score (default: the model's, or 0.5)")
    add("--save-json", action="store_true")
    add("--save-masks", action="store_true")
    add("--crops", action="store_true")
    add("--font", metavar="FILE", help="for names, if none is found that has their characters")


def check_outputs(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Complete what ``add_outputs`` parsed; words that do not fit end the program."""
    args.output = args.output.expanduser()
    if args.threshold is not None and not 0.0 <= args.threshold <= 1.0:
        parser.error(f"--threshold: expected 0 to 1, got {args.threshold}")


@contextmanager
def open_outputs(args: argparse.Namespace, predictor: HasThreshold) -> Iterator[Outputs]:
    """What is kept, as the words say and the model is; results are written when the block ends.

    Also when it is interrupted: what was found so far is kept.

    Raises:
        ConfigError: the font is none.
    """
    from centermask_runtime.fonts import OWN_FONT, load_font
    from centermask_runtime.outputs import RESULTS, Outputs
    from centermask_runtime.results import ResultFile

    load_font(1.0, args.font or OWN_FONT)
    threshold = predictor.score_threshold if args.threshold is None else args.threshold
    origin = "the model's own, " if args.threshold is None else ""
    logger.info("Showing what scores at least %.2f (%s--threshold)", threshold, origin)
    results = ResultFile(args.output / RESULTS) if args.save_json else None
    try:
        yield Outputs(
            folder=args.output,
            score_threshold=threshold,
            font=args.font,
            masks=args.save_masks,
            crops=args.crops,
            results=results,
        )
    finally:
        if results is not None:
            results.close()
            logger.info("Wrote %s", results.path)


def main(words: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 if a photo could not be read, 2 if something given cannot be used."""
    parser = argparse.ArgumentParser(
        prog="centermask-runtime",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="model.onnx")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTOS")
    add_outputs(parser)
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: as installed)")
    args = parser.parse_intermixed_args(words)
    check_outputs(args, parser)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        unreadable = _draw(args)
    except UserError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted\n")
        return _INTERRUPTED
    if unreadable:
        logger.error("%d could not be read:\n%s", len(unreadable), "\n".join(unreadable))
    return 1 if unreadable else 0


def _draw(args: argparse.Namespace) -> list[str]:
    photos = find_photos([path.expanduser() for path in args.photos], args.output, "PHOTOS")
    # Only now, as ONNX Runtime takes a moment to import: a wrong path is reported at once.
    from centermask_runtime.photos import draw_on_photos

    try:
        from centermask_runtime.predictor import Predictor
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        reason = "this needs the package onnxruntime, which is not installed"
        raise ConfigError(f"{reason}: pip install onnxruntime") from error

    predictor = Predictor.from_onnx(args.model, args.device)
    with open_outputs(args, predictor) as outputs:
        return draw_on_photos(photos, predictor, outputs)
