#!/usr/bin/env python3
"""Make a checkpoint small for others: keep the model, drop optimizer, schedule and iteration.

    python tools/remove_solver_states.py output/model_final.pth
    python tools/remove_solver_states.py output/model_final.pth --output centermask.pth

Without --output the new file is model_final_wo_solver_states.pth, beside the old one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.utils.processor import prepare_process
from maskrcnn_benchmark.weights.load_report import CheckpointError

_SUFFIX = "_wo_solver_states"


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a file of a training, ours or the original's"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="name of the new file")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the new file if it exists"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_args(arguments)
    source: Path = args.checkpoint
    target: Path = args.output or source.with_name(f"{source.stem}{_SUFFIX}{source.suffix}")
    if target.exists() and not args.overwrite:
        raise CheckpointError(f"{target} exists; name another --output, or say --overwrite")
    # Only now, as PyTorch takes a second to import: help and wrong arguments are reported at once.
    from maskrcnn_benchmark.weights.checkpoint import remove_solver_states

    removed = remove_solver_states(source, target)
    before, after = (path.stat().st_size / 2**20 for path in (source, target))
    sys.stdout.write(
        f"{target}: {after:.1f} MB (the checkpoint: {before:.1f} MB); left out: "
        f"{', '.join(removed) or 'nothing'}\n"
    )


if __name__ == "__main__":
    prepare_process()
    with plain_errors():
        main()
