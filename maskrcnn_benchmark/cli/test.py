"""Measure a trained model: average precision of its boxes and masks.

The photos are those that the training was evaluated on, or others with --data. Tables go to the
screen, results to the folder inference/ beside the checkpoint.

For example:
  centermask test run/model_best.pth
  centermask test run/model_best.pth --data my_photos#test --device cpu
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.cli.arguments import add_device, add_settings, make_parser, parse
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.shipped import find_config
from maskrcnn_benchmark.engine.settings import load_checkpoint_settings


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("test", __doc__)
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="model_best.pth of a training")
    add("--data", metavar="PATH", help="annotated photos, in any format")
    add("--format", metavar="F", help="of the annotations, if looking does not tell")
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    add("--output", metavar="DIR", help="for log and results (default: the checkpoint's folder)")
    add_device(parser)
    add_settings(parser)
    return parse(parser, words)


def make_settings(args: argparse.Namespace) -> CfgNode:
    """The checkpoint's settings with those of the command line.

    Raises:
        CheckpointError: there is no such file, or it does not say which model it is of.
        ConfigError: a setting cannot be used.
    """
    own_file = find_config(args.config_file) if args.config_file else ""
    cfg = load_checkpoint_settings(args.checkpoint, own_file, args.device)
    cfg.OUTPUT_DIR = args.output or str(Path(args.checkpoint).parent)
    if args.data:
        cfg.DATASETS.TEST = (args.data,)
    if args.format is not None:
        cfg.DATASETS.FORMAT = args.format
    cfg.merge_from_list(args.opts)
    return cfg


def main(words: Sequence[str]) -> int:
    """The exit code, 0."""
    args = parse_words(words)
    cfg = make_settings(args)
    from maskrcnn_benchmark.engine.build import make_test
    from maskrcnn_benchmark.engine.launch import make_run

    with make_run(cfg) as run:
        make_test(cfg, run, args.checkpoint)
    return 0
