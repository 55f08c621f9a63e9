#!/usr/bin/env python3
"""Evaluate a model on the data sets of DATASETS.TEST; docs/training.md tells how.

The weights are those of MODEL.WEIGHT if the command line names it, else of the last checkpoint in
OUTPUT_DIR, else of the MODEL.WEIGHT in the file.

Alone:           python tools/test_net.py --config-file CONFIG [KEY VALUE ...]
In N processes:  torchrun --nproc_per_node=N tools/test_net.py --config-file CONFIG [KEY VALUE ...]
"""

import argparse
import sys
from collections.abc import Sequence

from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.utils.processor import prepare_process


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file of settings")
    parser.add_argument(
        "--local-rank", "--local_rank", type=int, help="set by torch.distributed.launch"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit code 1 unless the numbers are those of TEST.EXPECTED_RESULTS",
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings after the file's"
    )
    args = parser.parse_args(arguments)
    if not args.config_file and not args.opts:
        parser.error("name a file of settings: --config-file CONFIG")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate what the command line says."""
    args = parse_args(arguments)
    cfg = load_settings(args.config_file, args.opts)
    # Only now, as PyTorch takes a second to import: help and wrong settings are reported at once.
    from maskrcnn_benchmark.engine.build import (
        make_expectation_checks,
        make_expectations,
        make_test,
    )
    from maskrcnn_benchmark.engine.launch import make_run
    from maskrcnn_benchmark.evaluation import missed_expectations

    if args.check:
        make_expectation_checks(cfg)
    # UPSTREAM(asked-weights-win): the original preferred a checkpoint it found in OUTPUT_DIR even
    # to the weights that were asked for, without a word.
    weights = cfg.MODEL.WEIGHT if "MODEL.WEIGHT" in args.opts[::2] else None
    with make_run(cfg, args.local_rank) as run:
        results = make_test(cfg, run, weights or None)
    if args.check and missed_expectations(make_expectations(cfg), results):
        sys.exit(1)


if __name__ == "__main__":
    prepare_process()
    with plain_errors():
        main()
