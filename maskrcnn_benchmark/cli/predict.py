"""Draw what a trained model finds on photos, videos and cameras.

SOURCES are photos, videos, folders (searched with their subfolders), patterns ("clips/*"), or the
number of a camera (0 is the first; Ctrl-C ends it). MODEL is a checkpoint, or the name of a trained
model such as torchvision-mask-rcnn, whose weights are downloaded, or model.onnx of `centermask
export`, which runs without PyTorch; it is all that is needed.
Drawings go to --output, and so does what else is asked for:
  --save-json   predictions.json: COCO results, each with file name, class name and frame
  --save-masks  masks/PHOTO.png: pixels of the k-th object are k, the best is 1
  --crops       crops/CLASS/PHOTO_k.png: the object alone, on transparent ground
With --output NAME.jsonl or NAME.parquet nothing is drawn: every photo becomes a line or a row with
its objects, or its error; SOURCES may be COCO JSON files and tar shards, too. docs/bulk.md

For example:
  centermask predict run/model_best.pth photos/ --output drawn --save-json
  centermask predict run/model_best.pth clip.mp4 --threshold 0.3 INPUT.MIN_SIZE_TEST 800
  centermask predict run/model_best.pth "shards/*.tar" --output found.jsonl --resume
"""

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from centermask_runtime.command import add_outputs, check_outputs, open_outputs
from maskrcnn_benchmark.cli.arguments import (
    add_device,
    make_parser,
    parse,
    take_settings,
)
from maskrcnn_benchmark.cli.bulk import add_bulk, is_bulk, predict_many
from maskrcnn_benchmark.cli.model import load_any_predictor
from maskrcnn_benchmark.engine.exits import log_exit
from maskrcnn_benchmark.prediction.sources import Sources, find_sources
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger

if TYPE_CHECKING:
    from centermask_runtime.outputs import Detect, Outputs

logger = logging.getLogger(__name__)


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("predict", __doc__)
    add = parser.add_argument
    add("model", metavar="MODEL", help="model_best.pth, model.onnx, or a trained model's name")
    add("words", nargs="*", metavar="SOURCES [KEY VALUE]", help="then perhaps settings")
    add_outputs(parser)
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    add_device(parser)
    add_bulk(parser)
    args = parse(parser, words)
    args.sources, args.opts = take_settings(parser, args.words)
    if not args.sources:
        parser.error("name photos, folders, patterns, videos or a camera behind the model")
    check_outputs(args, parser)
    args.is_bulk = is_bulk(args, parser)
    return args


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 1 if a photo or video could not be read."""
    args = parse_words(words)
    if args.is_bulk:
        return predict_many(args)
    setup_environment()
    setup_logger(PACKAGE_LOGGER, None, 0)
    sources = find_sources(args.sources, args.output, "SOURCES")
    with log_exit():
        unreadable = _look_at(args, sources)
    if unreadable:
        logger.error("%d could not be read:\n%s", len(unreadable), "\n".join(unreadable))
    return 1 if unreadable else 0


def _look_at(args: argparse.Namespace, sources: Sources) -> list[str]:
    """The photos and videos that could not be read."""
    predictor = load_any_predictor(args.model, args.config_file, args.device, args.opts)
    with open_outputs(args, predictor) as outputs:
        photos = _draw_on_photos(sources, predictor, outputs) if sources.photos else []
        return [*photos, *_draw_on_videos(sources, predictor, outputs)]


def _draw_on_photos(sources: Sources, detect: "Detect", outputs: "Outputs") -> list[str]:
    # Only now, as NumPy takes a moment to import: a wrong argument is reported at once.
    from centermask_runtime.photos import draw_on_photos

    return draw_on_photos(sources.photos, detect, outputs)


def _draw_on_videos(sources: Sources, detect: "Detect", outputs: "Outputs") -> list[str]:
    from maskrcnn_benchmark.prediction.video import draw_on_video

    return [
        str(video.source) for video in sources.videos if not draw_on_video(video, detect, outputs)
    ]
