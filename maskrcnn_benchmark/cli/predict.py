"""Draw what a trained model finds on photos.

PHOTOS are files, folders (searched with their subfolders) or patterns ("photos/*.jpg"). Nothing is
needed besides the checkpoint. --save-json also writes OUTPUT/predictions.json: COCO results, each
with the file name of its photo and the class's name.

For example:
  centermask predict run/model_final.pth photo.jpg
  centermask predict run/model_final.pth photos/ --output drawn --save-json
  centermask predict run/model_final.pth photos/ --threshold 0.3 INPUT.MIN_SIZE_TEST 800
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tqdm import tqdm

from maskrcnn_benchmark.cli.arguments import (
    add_device,
    make_parser,
    parse,
    split_settings,
)
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.shipped import find_config
from maskrcnn_benchmark.engine.exits import log_exit
from maskrcnn_benchmark.engine.settings import load_checkpoint_settings, make_settings_final
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger
from maskrcnn_benchmark.utils.photo_files import find_photos

logger = logging.getLogger(__name__)

RESULTS: Final = "predictions.json"


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("predict", __doc__)
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="model_final.pth of a training")
    add("words", nargs="*", metavar="PHOTOS [KEY VALUE]", help="photos, then perhaps settings")
    add("--output", type=Path, default=Path("predictions"), metavar="DIR", help="for drawings")
    add("--threshold", type=float, default=0.5, metavar="T", help="least score (default: 0.5)")
    add("--save-json", action="store_true", help=f"also write DIR/{RESULTS}")
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    add_device(parser)
    args = parse(parser, words)
    args.photos, args.opts = split_settings(args.words)
    if not args.photos:
        parser.error("name photos, folders or patterns behind the checkpoint")
    if not 0.0 <= args.threshold <= 1.0:
        parser.error(f"--threshold: expected 0 to 1, got {args.threshold}")
    return args


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 1 if a photo could not be read."""
    args = parse_words(words)
    setup_environment()
    setup_logger(PACKAGE_LOGGER, None, 0)
    photos = find_photos([Path(source) for source in args.photos], args.output, "PHOTOS")
    if not Path(args.checkpoint).is_file():
        raise ConfigError(f"no such checkpoint: {args.checkpoint}")
    with log_exit():
        unreadable = _draw(args, photos)
    logger.info("Drew on %d of %d photos, in %s", *_count(photos, unreadable), args.output)
    if unreadable:
        logger.error("%d could not be read:\n%s", len(unreadable), "\n".join(map(str, unreadable)))
    return 1 if unreadable else 0


def _count(photos: Sequence[object], unreadable: Sequence[object]) -> tuple[int, int]:
    return len(photos) - len(unreadable), len(photos)


def _draw(args: argparse.Namespace, photos: Sequence[tuple[Path, Path]]) -> list[Path]:
    """The photos that could not be read."""
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.engine.predictor import Predictor
    from maskrcnn_benchmark.engine.results import ResultCollector
    from maskrcnn_benchmark.visualization.class_names import build_class_names
    from maskrcnn_benchmark.visualization.photos import draw_photos
    from maskrcnn_benchmark.weights.description import find_description

    own_file = find_config(args.config_file) if args.config_file else ""
    cfg = load_checkpoint_settings(args.checkpoint, own_file, args.device)
    cfg.merge_from_list(args.opts)
    predictor = Predictor.from_config(make_settings_final(cfg), args.checkpoint)
    names = predictor.class_names or build_class_names(cfg)
    description = find_description(args.checkpoint)
    ids = description.class_ids() if description else {label: label for label in names}
    results = ResultCollector(names, ids)
    shown = tqdm(photos, unit="photo", disable=len(photos) == 1 or not sys.stderr.isatty())
    unreadable = draw_photos(shown, predictor, names, args.threshold, results.add)
    if args.save_json:
        results.write(args.output / RESULTS)
        logger.info("Wrote %s", args.output / RESULTS)
    return unreadable
