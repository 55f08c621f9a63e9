#!/usr/bin/env python3
"""Convert a weight file of another program to a checkpoint for a model of this one, or back.

    python tools/convert_checkpoint.py --config-file CONFIG INPUT OUTPUT [KEY VALUE ...]
    python tools/convert_checkpoint.py --config-file CONFIG --to timm/ese_vovnet39b INPUT OUTPUT

INPUT is a file, URL or catalog:// name of any layout that docs/checkpoints.md lists; its kind is
found out by itself. The log says what became of each tensor. OUTPUT holds the tensors that fit the
model of CONFIG, and the settings that they need; with --to the body alone, as a state dict for
that network of torchvision or timm (OUTPUT may then end in .safetensors).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger
from maskrcnn_benchmark.utils.processor import prepare_process


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="settings of the model"
    )
    parser.add_argument("--to", metavar="LIBRARY/MODEL", help="torchvision/... or timm/...")
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    parser.add_argument("input", metavar="INPUT", help="file, URL or catalog://NAME")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the checkpoint to write")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings after the file's"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_args(arguments)
    setup_logger(PACKAGE_LOGGER, None, 0)
    fixed = ["MODEL.WEIGHT", args.input, "MODEL.DEVICE", "cpu"]
    cfg = load_settings(args.config_file, [*args.opts, *fixed])
    # Only now, as PyTorch takes a second to import: help and wrong settings are reported at once.
    from maskrcnn_benchmark.engine.conversion import make_conversion

    make_conversion(cfg, args.output, library=args.to, overwrite=args.overwrite)


if __name__ == "__main__":
    prepare_process()
    with plain_errors():
        main()
