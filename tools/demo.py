#!/usr/bin/env python3
"""Draw what a model finds on photos.

    python tools/demo.py --config-file CONFIG --input photo.jpg --output drawn/
    python tools/demo.py --config-file CONFIG --input photos/ --output drawn/ [KEY VALUE ...]

The weights are --weights, else the last checkpoint in OUTPUT_DIR, else MODEL.WEIGHT.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from maskrcnn_benchmark.config.errors import ConfigError, UserError
from maskrcnn_benchmark.engine.exits import log_exit
from maskrcnn_benchmark.engine.settings import load_settings, make_settings_final
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger
from maskrcnn_benchmark.utils.photo_files import find_photos
from maskrcnn_benchmark.utils.processor import prepare_process

logger = logging.getLogger(f"{PACKAGE_LOGGER}.tools.demo")


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="settings")
    parser.add_argument(
        "--input",
        required=True,
        type=Path,
        metavar="PATH",
        help="a photo, or a folder that is searched for photos with its subfolders",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER", help="where drawings go"
    )
    parser.add_argument("--weights", metavar="FILE", help="checkpoint of the model")
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="T",
        help="draw detections that score at least this, 0 to 1 (default: 0.5)",
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings after the file's"
    )
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> list[Path]:
    """The files that could not be read, after drawing on all others.

    Raises:
        ConfigError: settings, input or output cannot be used.
    """
    if not 0.0 <= args.score_threshold <= 1.0:
        raise ConfigError(f"--score-threshold: expected 0 to 1, got {args.score_threshold}")
    photos = find_photos([args.input], args.output)
    cfg = load_settings(args.config_file, args.opts)
    if args.weights:
        cfg.MODEL.WEIGHT = args.weights
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.engine.predictor import Predictor
    from maskrcnn_benchmark.visualization.class_names import build_class_names
    from maskrcnn_benchmark.visualization.photos import draw_photos

    make_settings_final(cfg)
    predictor = Predictor.from_config(cfg, args.weights)
    class_names = predictor.class_names or build_class_names(cfg)
    shown = tqdm(photos, unit="photo", disable=len(photos) == 1 or not sys.stderr.isatty())
    unreadable = draw_photos(shown, predictor, class_names, args.score_threshold)
    logger.info("Drew on %d of %d photos", len(photos) - len(unreadable), len(photos))
    if unreadable:
        names = "\n".join(f"  {path}" for path in unreadable)
        logger.error("%d could not be read:\n%s", len(unreadable), names)
    return unreadable


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 if a file could not be read, 2 if nothing could be done."""
    args = parse_args(arguments)
    setup_environment()
    setup_logger(PACKAGE_LOGGER, None, 0)
    with log_exit():
        try:
            return 1 if run(args) else 0
        except UserError as error:
            logger.error("%s", error)
            return 2


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
