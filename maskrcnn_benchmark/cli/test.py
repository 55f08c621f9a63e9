"""Measure a trained model: average precision of its boxes and masks.

The photos are those that the training was evaluated on, or others with --data. Tables go to the
screen, results to the folder inference/ beside the checkpoint. MODEL is a checkpoint, or the name
of a trained model such as torchvision-mask-rcnn, whose weights are downloaded.

For example:
  centermask test run/model_best.pth
  centermask test run/model_best.pth --data my_photos#test --device cpu
  centermask test torchvision-mask-rcnn --data my_coco_photos --output tested
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.cli.arguments import add_device, add_settings, make_parser, parse
from maskrcnn_benchmark.cli.model import find_model_settings
from maskrcnn_benchmark.config import CfgNode


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("test", __doc__)
    add = parser.add_argument
    add("model", metavar="MODEL", help="model_best.pth of a training, or a trained model's name")
    add("--data", metavar="PATH", help="annotated photos, in any format")
    add("--format", metavar="F", help="of the annotations, if looking does not tell")
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    add("--output", metavar="DIR", help="for log and results (default: the folder of the model)")
    add_device(parser)
    add_settings(parser)
    return parse(parser, words)


def make_settings(args: argparse.Namespace) -> CfgNode:
    """The model's settings with those of the command line.

    Raises:
        CheckpointError: a file does not say which model it is of.
        ConfigError: there is no such model, or a setting cannot be used.
    """
    cfg = find_model_settings(args.model, args.config_file, args.device)
    path = Path(args.model).expanduser()
    cfg.OUTPUT_DIR = args.output or str(path.parent if path.is_file() else path)
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
        make_test(cfg, run, cfg.MODEL.WEIGHT)
    return 0
