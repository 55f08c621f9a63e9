"""Write a trained model to a file that other programs run, and check that it finds the same.

The file takes an 8-bit photo of any size and gives boxes, classes, scores and masks in pixels of
it; class names, sizes and settings are in its metadata. Before it gets its name it is run on
photos, of several sizes up to 12 megapixels, beside the model itself: other detections, and the
exit code is 1 and the file is called *.unverified. docs/export.md

With --dense the file is the network alone, for programs that prepare photos and select boxes by
themselves; our own selection behind it then finds what is compared. Formats: onnx, openvino (.xml
and .bin), and of the network alone torch (a program of torch.export) and aoti (it, compiled).

--precision bf16 writes files of openvino, torch and aoti whose network computes in bfloat16, on
processors that do. They must be as close to the model as TEST.INFERENCE_MODE bf16 is.

--operators own writes files of torch and aoti whose network is that of TEST.INFERENCE_MODE fast, or
with --precision bf16 that of bf16, in its fast operators. Where they are run, this package or its
compiled library has to be there.

For example:
  centermask export run/model_best.pth
  centermask export run/model_best.pth --format openvino --output boards.xml --photos my_photos
  centermask export run/model_best.pth --dense --size 608 1024 --output network.onnx
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.cli.arguments import add_settings, make_parser, parse
from maskrcnn_benchmark.cli.model import load_model_settings
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.exits import log_exit
from maskrcnn_benchmark.export.formats import (
    Contents,
    check_format,
    check_operators,
    check_precision,
)
from maskrcnn_benchmark.export.metadata import Kind
from maskrcnn_benchmark.prediction.bulk.sources import find_bulk_photos
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger

logger = logging.getLogger(__name__)


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("export", __doc__)
    add = parser.add_argument
    add("model", metavar="MODEL", help="model_best.pth of a training, or a trained model's name")
    add("--format", default="onnx", metavar="F", help="onnx (default), openvino, torch, aoti")
    add("--output", type=Path, metavar="FILE", help="default: beside the model, with its name")
    add("--precision", default="float32", metavar="P", help="float32 (default), bf16")
    add("--operators", default="standard", metavar="O", help="standard (default), own")
    add("--dense", action="store_true", help="the network alone: normalised images in, maps out")
    add("--size", type=int, nargs=2, metavar="PX", help="height, width of --dense (default: any)")
    add("--photos", nargs="+", metavar="P", help="photos, folders to compare on (default: bundled)")
    add("--overwrite", action="store_true", help="replace the file if it exists")
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    add_settings(parser)
    args = parse(parser, words)
    if args.size and not args.dense:
        parser.error("--size: goes with --dense; a whole model takes photos of every size")
    if args.size and min(args.size) < 1:
        parser.error(f"--size: expected positive numbers, got {args.size}")
    return args


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 1 if the file finds something else than the model."""
    args = parse_words(words)
    holds: Kind = "dense" if args.dense else "detector"
    kind = check_format(args.format, holds)
    contents = Contents(
        kind=holds,
        precision=check_precision(args.precision, kind),
        operators=check_operators(args.operators, kind),
        size_hw=tuple(args.size) if args.size else None,
    )
    setup_environment()
    setup_logger(PACKAGE_LOGGER, None, 0)
    photos = _photos(args.photos) if args.photos else []
    cfg = load_model_settings(args.model, args.config_file, "cpu", args.opts)
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.export.run import check_target, make_export
    from maskrcnn_benchmark.export.verify import NotTheSameError

    suffix = f".dense{kind.suffix}" if args.dense else kind.suffix
    default = Path(args.model).with_suffix(suffix)
    path = (args.output or default).expanduser()
    check_target(path, kind, overwrite=args.overwrite)
    try:
        with log_exit():
            make_export(cfg, kind, path, contents=contents, photos=photos)
    except NotTheSameError:
        return 1
    return 0


def _photos(words: Sequence[str]) -> list[Path]:
    paths = [Path(one.path) for one in find_bulk_photos(words) if one.offset is None]
    if not paths:
        raise ConfigError("--photos: name image files; those in tar shards cannot be taken")
    return paths
