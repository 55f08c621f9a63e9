#!/usr/bin/env python3
"""Train, evaluate and draw on the bundled photos: what `make demo` runs.

    python tools/quickstart.py [--config-file CONFIG] [--output FOLDER] [KEY VALUE ...]

The same command goes on with an unfinished training; a finished one is evaluated and drawn again.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.engine.settings import load_settings, make_settings_final
from maskrcnn_benchmark.utils.processor import prepare_process

DEFAULT_CONFIG = (
    Path(__file__).resolve().parents[1] / "configs/quickstart/centermask_lite_M_v2_FPN_boards.yaml"
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default=str(DEFAULT_CONFIG), metavar="FILE")
    parser.add_argument(
        "--output", default="", metavar="FOLDER", help="instead of OUTPUT_DIR in the settings"
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings after the file's"
    )
    return parser.parse_args(arguments)


def make_settings(args: argparse.Namespace) -> CfgNode:
    """The frozen settings of the run, which also evaluates on the photos that it trains on.

    Raises:
        ConfigError: there is not one data set to train on and one other to test on.
    """
    cfg = load_settings(args.config_file, args.opts)
    if args.output:
        cfg.OUTPUT_DIR = args.output
    train, test = tuple(cfg.DATASETS.TRAIN), tuple(cfg.DATASETS.TEST)
    if len(train) != 1 or len(test) != 1 or train == test:
        raise ConfigError(
            "the quickstart needs one data set in DATASETS.TRAIN and another in DATASETS.TEST, "
            f"got {train} and {test}"
        )
    cfg.DATASETS.TEST = train + test
    return make_settings_final(cfg)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, evaluate and draw what the command line says."""
    started = time.perf_counter()
    args = parse_args(arguments)
    cfg = make_settings(args)
    # Only now, as PyTorch takes a second to import: help and wrong settings are reported at once.
    from maskrcnn_benchmark.data import make_datasets
    from maskrcnn_benchmark.engine.build import (
        build_trained_model,
        make_evaluations,
        note_threshold,
    )
    from maskrcnn_benchmark.engine.launch import make_run
    from maskrcnn_benchmark.engine.run_report import (
        make_next_steps,
        make_outputs,
        pair_splits,
        summary,
    )

    with make_run(cfg) as run:
        datasets = make_datasets(cfg)
        model = build_trained_model(cfg, run, datasets)
        results = make_evaluations(cfg, model, run, datasets.test)
        splits = pair_splits(datasets.test, results)
        note_threshold(Path(cfg.OUTPUT_DIR) / "model_final.pth", splits[-1].result)
        written = make_outputs(cfg, model, run, splits)
    print(summary(written, splits, time.perf_counter() - started, make_next_steps(cfg)))


if __name__ == "__main__":
    prepare_process()
    with plain_errors():
        main()
