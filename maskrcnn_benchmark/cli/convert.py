"""Convert a weight file of another program to a checkpoint for a model of this one, or back.

INPUT is a file, URL or catalog:// name of any layout that docs/checkpoints.md lists; its kind is
found out by itself. The log says what became of each tensor. With --to the body alone is written,
as a state dict for that network of torchvision or timm.

For example:
  centermask convert centermask-lite-M-v2.pth model.pth --model centermask-lite-mv2
  centermask convert model.pth body.safetensors --config-file mine.yaml --to timm/ese_vovnet39b
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.cli.arguments import add_settings, make_parser, parse
from maskrcnn_benchmark.config.shipped import find_config, find_model
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("convert", __doc__)
    add = parser.add_argument
    add("input", metavar="INPUT", help="file, URL or catalog://NAME")
    add("output", type=Path, metavar="OUTPUT", help="the checkpoint to write")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="NAME", help="of the model, see `centermask models`")
    which.add_argument("--config-file", metavar="FILE", help="settings of the model")
    add("--to", metavar="LIBRARY/MODEL", help="torchvision/... or timm/...")
    add("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    add_settings(parser)
    return parse(parser, words)


def main(words: Sequence[str]) -> int:
    """The exit code, 0."""
    args = parse_words(words)
    setup_logger(PACKAGE_LOGGER, None, 0)
    file = find_model(args.model).path if args.model else find_config(args.config_file)
    cfg = load_settings(file, [*args.opts, "MODEL.WEIGHT", args.input, "MODEL.DEVICE", "cpu"])
    from maskrcnn_benchmark.engine.conversion import make_conversion

    make_conversion(cfg, args.output, library=args.to, overwrite=args.overwrite)
    return 0
