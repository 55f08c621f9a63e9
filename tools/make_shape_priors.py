#!/usr/bin/env python3
"""Cluster the outlines of a data set into the shape priors of a ShapeMask.

    python tools/make_shape_priors.py instances_train2017.json@train2017 --output priors.npy
    python tools/train_net.py --config-file CONFIG MODEL.DENSE.SETTINGS.PRIORS_FILE priors.npy

DATA is a file or folder in any format that `centermask train` reads. The file that is written has a
row for the background and for each class in ascending order of its id. A training without a file
makes its priors by itself.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.utils.processor import prepare_process

if TYPE_CHECKING:
    from maskrcnn_benchmark.structures.tight_outlines import Outline


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="annotated photos: PATH, or FILE@FOLDER")
    add("--output", type=Path, default=Path("shape_priors.npy"), metavar="FILE")
    add("--overwrite", action="store_true", help="replace the output if it exists")
    add("--format", default="", metavar="F", help="of the annotations, if looking does not tell")
    add("--num-priors", type=int, default=20, metavar="K", help="shapes of a class (default: 20)")
    add(
        *("--max-masks", "--max_masks"),
        type=int,
        default=1000,
        metavar="N",
        help="outlines of a class that are looked at, at most (default: 1000)",
    )
    add("--class-agnostic", action="store_true", help="the same shapes for all classes")
    add("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")
    args = parser.parse_args(arguments)
    for name in ("num_priors", "max_masks"):
        if getattr(args, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')}: expected at least 1, got {getattr(args, name)}"
            )
    if args.output.suffix != ".npy":
        parser.error(f"--output: expected a name that ends in .npy, got {args.output}")
    if args.output.exists() and not args.overwrite:
        parser.error(f"{args.output} exists; name another --output, or say --overwrite")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_args(arguments)
    cfg = load_settings("", ["DATASETS.TRAIN", (args.data,), "DATASETS.FORMAT", args.format])
    # Only now, as PyTorch takes a second to import: help and wrong arguments are reported at once.
    import numpy as np

    from maskrcnn_benchmark.data.build import make_training_data
    from maskrcnn_benchmark.data.datasets.readers import ContentReader
    from maskrcnn_benchmark.data.errors import DatasetError
    from maskrcnn_benchmark.data.outline_sample import draw_outlines
    from maskrcnn_benchmark.modeling.dense.shapemask.priors import make_priors
    from maskrcnn_benchmark.utils.files import atomic_write

    dataset = make_training_data(cfg, ContentReader())
    if not dataset.has_masks:
        raise DatasetError(f"{args.data} has boxes but no outlines to make shape priors of")
    counts: Counter[int] = Counter()
    outlines = draw_outlines([dataset], most_of_class=args.max_masks, seed=args.seed)
    priors = make_priors(
        _counted(outlines, counts),
        num_classes=len(dataset.categories) + 1,
        num_priors=args.num_priors,
        class_agnostic=args.class_agnostic,
        seed=args.seed,
    )
    with atomic_write(args.output) as file:
        np.save(file, priors.numpy())
    without = [name for label, name in dataset.categories.items() if not counts[label]]
    shapes = f"{args.num_priors} shapes of each of {len(dataset.categories)} classes"
    names = ", ".join(without)
    zeros = "" if args.class_agnostic else ", whose shapes are zeros"
    absent = f"; no object of: {names}{zeros}" if without else ""
    sys.stdout.write(f"{args.output}: {shapes}, from {counts.total()} objects{absent}\n")


def _counted(outlines: "Iterable[Outline]", counts: Counter[int]) -> "Iterator[Outline]":
    for outline in outlines:
        counts[outline.label] += 1
        yield outline


if __name__ == "__main__":
    prepare_process()
    with plain_errors():
        main()
