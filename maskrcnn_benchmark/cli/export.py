"""Write a trained model to a file that other programs run, and check that it finds the same.

The file takes an 8-bit photo of any size and gives boxes, classes, scores and masks in pixels of
it; class names, sizes and settings are in its metadata. Before it gets its name it is run on
photos, of several sizes up to 12 megapixels, beside the model itself: other detections, and the
exit code is 1 and the file is called *.unverified. docs/export.md

For example:
  centermask export run/model_best.pth
  centermask export run/model_best.pth --format onnx --output boards.onnx --photos my_photos
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.cli.arguments import add_settings, make_parser, parse
from maskrcnn_benchmark.cli.model import load_model_settings
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.exits import log_exit
from maskrcnn_benchmark.export.formats import check_format
from maskrcnn_benchmark.prediction.bulk.sources import find_bulk_photos
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger

logger = logging.getLogger(__name__)


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("export", __doc__)
    add = parser.add_argument
    add("model", metavar="MODEL", help="model_best.pth of a training, or a trained model's name")
    add("--format", default="onnx", metavar="F", help="onnx (default)")
    add("--output", type=Path, metavar="FILE", help="default: beside the model, with its name")
    add("--photos", nargs="+", metavar="P", help="photos, folders to compare on (default: bundled)")
    add("--overwrite", action="store_true", help="replace the file if it exists")
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    add_settings(parser)
    return parse(parser, words)


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 1 if the file finds something else than the model."""
    args = parse_words(words)
    kind = check_format(args.format)
    setup_environment()
    setup_logger(PACKAGE_LOGGER, None, 0)
    photos = _photos(args.photos) if args.photos else []
    cfg = load_model_settings(args.model, args.config_file, "cpu", args.opts)
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.export.run import check_target, make_export
    from maskrcnn_benchmark.export.verify import NotTheSameError

    default = Path(args.model).expanduser().with_suffix(kind.suffix)
    path = check_target(args.output or default, kind, overwrite=args.overwrite)
    try:
        with log_exit():
            make_export(cfg, kind, path, photos=photos)
    except NotTheSameError:
        return 1
    return 0


def _photos(words: Sequence[str]) -> list[Path]:
    paths = [Path(one.path) for one in find_bulk_photos(words) if one.offset is None]
    if not paths:
        raise ConfigError("--photos: name image files; those in tar shards cannot be taken")
    return paths
