#!/usr/bin/env python3
"""Train a model and evaluate it; docs/training.md tells how.

Alone:           python tools/train_net.py --config-file CONFIG [KEY VALUE ...]
In N processes:  torchrun --nproc_per_node=N tools/train_net.py --config-file CONFIG [KEY VALUE ...]
"""

import argparse
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
        "--skip-test", action="store_true", help="do not evaluate the trained model"
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings after the file's"
    )
    args = parser.parse_args(arguments)
    if not args.config_file and not args.opts:
        parser.error("name a file of settings: --config-file CONFIG")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what the command line says."""
    args = parse_args(arguments)
    cfg = load_settings(args.config_file, args.opts)
    # Only now, as PyTorch takes a second to import: help and wrong settings are reported at once.
    from maskrcnn_benchmark.engine.build import make_training
    from maskrcnn_benchmark.engine.launch import make_run

    with make_run(cfg, args.local_rank) as run:
        make_training(cfg, run, tests=not args.skip_test)


if __name__ == "__main__":
    prepare_process()
    with plain_errors():
        main()
