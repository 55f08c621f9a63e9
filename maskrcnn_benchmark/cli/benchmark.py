"""Time a trained model on this machine, from a photo's file to the run lengths of its masks.

Inference modes take turns in one process, after one turn each to warm up; medians and 90th
percentiles are in ms, stage by stage. Backbone, pyramid and head are timed alone, too, beside the
ceiling: products of two matrices, what this processor can do at best. All on the CPU. With --peers
torchvision's Mask R-CNN R-50 (with random weights) and, where they are installed, ultralytics,
OpenVINO and ONNX Runtime take turns with them.

For example:
  centermask benchmark run/model_best.pth photo.jpg
  centermask benchmark run/model_best.pth photos/ --modes plain fast bf16 --batch 1 4
  centermask benchmark run/model_best.pth photo.jpg --threads 1 2 --json times.json
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from maskrcnn_benchmark.cli.arguments import make_parser, parse, take_settings
from maskrcnn_benchmark.cli.model import load_model_settings
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.prediction.bulk.sources import find_bulk_photos
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.files import write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from maskrcnn_benchmark.timing.contenders import Contender, Inputs
    from maskrcnn_benchmark.timing.turns import Detector


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("benchmark", __doc__)
    add = parser.add_argument
    add("model", metavar="MODEL", help="model_best.pth of a training")
    add("words", nargs="*", metavar="PHOTOS [KEY VALUE]", help="photos, then perhaps settings")
    add("--modes", nargs="+", metavar="M", help="TEST.INFERENCE_MODE (default: plain, the model's)")
    add("--rounds", type=int, default=9, metavar="N", help="turns of each (default: 9)")
    add("--batch", type=int, nargs="+", default=[1], metavar="N", help="photos at once")
    add("--threads", type=int, nargs="+", metavar="N", help="default: as many as PyTorch takes")
    add("--peers", action="store_true", help="also time other programs")
    add(
        "--exports",
        nargs="+",
        default=[],
        metavar="FILE",
        help="also time files of `export`: whole models, or networks between its other parts",
    )
    add("--json", type=Path, metavar="FILE", help="also write all numbers there")
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    args = parse(parser, words)
    args.photos, args.opts = take_settings(parser, args.words)
    if not args.photos:
        parser.error("name photos behind the model: what it finds there is part of its work")
    if min([args.rounds, *args.batch, *(args.threads or [1])]) < 1:
        parser.error("--rounds, --batch, --threads: expected positive numbers")
    return args


def main(words: Sequence[str]) -> int:
    """The exit code: 0."""
    args = parse_words(words)
    setup_environment()
    photos = [Path(one.path) for one in find_bulk_photos(args.photos) if one.offset is None]
    if not photos:
        raise ConfigError("PHOTOS: name image files; those in tar shards cannot be timed")
    cfg = load_model_settings(args.model, args.config_file, "cpu", args.opts)
    contest = make_contest(cfg, args.modes, args.exports)
    entries: list[dict[str, Any]] = []
    for entry, lines in _measure(args, contest, photos):
        entries.append(entry)
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()
        if args.json:
            write_json(args.json, entries, indent=2)
    return 0


class Contest(NamedTuple):
    """What is compared.

    Attributes:
        contenders: the model by mode.
        inputs: makes the images of the dense part.
        model: on the CPU, in evaluation mode.
        sides: least and most px of its input.
        exports: makes what runs exported files, by their names, on the threads of the moment.
    """

    contenders: dict[str, "Contender"]
    inputs: "Inputs"
    model: "nn.Module"
    sides: tuple[int, int]
    exports: "Callable[[], dict[str, Detector]]"


def make_contest(cfg: CfgNode, modes: Sequence[str] | None, exports: Sequence[str]) -> Contest:
    """The trained model of some settings in each mode.

    Raises:
        ConfigError: there is no such mode.
    """
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.engine.forward import build_pretrained_model
    from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
    from maskrcnn_benchmark.timing.contenders import CPU, Contender, Inputs

    names = modes or ["plain", cfg.TEST.INFERENCE_MODE]
    unknown = sorted(set(names) - set(INFERENCE_MODES))
    if unknown:
        known = ", ".join(sorted(INFERENCE_MODES))
        raise ConfigError(f"--modes: unknown {', '.join(unknown)}; known: {known}")
    network = build_pretrained_model(cfg, CPU, cfg.MODEL.WEIGHT).eval()
    contenders = {name: Contender.from_config(cfg, network, name) for name in names}
    sides = (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    inputs = Inputs.from_config(cfg, "pil")
    return Contest(contenders, inputs, network, sides, lambda: _make_exports(cfg, exports))


def _measure(
    args: argparse.Namespace, contest: Contest, photos: Sequence[Path]
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The numbers of each batch size and number of threads, and the same as lines to show."""
    import torch

    from maskrcnn_benchmark.timing.machine import circumstances, load, set_threads
    from maskrcnn_benchmark.timing.tables import dense_table, describe_input, whole_table
    from maskrcnn_benchmark.timing.turns import time_dense, time_whole

    with_parts = {mode: one for mode, one in contest.contenders.items() if one.has_parts}
    for batch, threads in itertools.product(args.batch, args.threads or [torch.get_num_threads()]):
        set_threads(threads)
        files = [photos[number % len(photos)] for number in range(batch)]
        machine = f"{circumstances()} {threads} threads, {load()}."
        entry: dict[str, Any] = {"model": args.model, "batch": batch, "threads": threads}
        entry |= {"machine": machine, "photos": list(map(str, files))}
        images = contest.inputs.of_files(files)
        whole, dense = _peers(contest, files, images, threads) if args.peers else ({}, {})
        whole |= contest.exports()
        entry["whole"] = time_whole({**contest.contenders, **whole}, files, args.rounds)
        lines = ["", machine, "", f"{batch} photo(s) to run lengths, ms:", ""]
        lines += whole_table(entry["whole"])
        if with_parts:
            entry["dense"] = time_dense(with_parts, dense, images, args.rounds)
            about = describe_input(entry["dense"])
            lines += ["", f"backbone, pyramid and head alone, {about}:", ""]
            lines += dense_table(entry["dense"])
        yield entry, lines


def _make_exports(cfg: CfgNode, names: Sequence[str]) -> "dict[str, Detector]":
    if not names:
        return {}
    from maskrcnn_benchmark.export.formats import EXPORT_FORMATS

    # Says so if a package is absent that the next import needs.
    EXPORT_FORMATS["onnx"].functions()
    from maskrcnn_benchmark.timing.exported import make_export_contender

    return {Path(name).name: make_export_contender(cfg, Path(name)) for name in names}


def _peers(
    contest: Contest, files: Sequence[Path], images: "Tensor", threads: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Other programs from files to run lengths, and for the dense part alone.

    They find as many objects in a photo as the model does in the first one.
    """
    import torch

    from maskrcnn_benchmark.timing.peers import Work, dense_peers, whole_peers

    found = next(iter(contest.contenders.values()))(files[:1])
    whole = whole_peers(Work(*contest.sides, max(1, len(found[0]))), files)
    with torch.no_grad():
        return whole, dense_peers(contest.model, images, threads)
