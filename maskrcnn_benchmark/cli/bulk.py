"""`centermask predict` with results of many photos: into *.jsonl or *.parquet, and resumable."""

import argparse
import functools
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import yaml

from maskrcnn_benchmark.cli.model import is_exported, load_any_predictor, load_model_settings
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.exits import log_exit
from maskrcnn_benchmark.prediction.bulk.manifest import claim, digest_of
from maskrcnn_benchmark.prediction.bulk.result_files import (
    JSON_LINES,
    PARQUET,
    Record,
    ResultFiles,
    is_result_path,
    make_result_files,
)
from maskrcnn_benchmark.prediction.bulk.sources import BulkPhoto, find_bulk_photos, share_of
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger

if TYPE_CHECKING:
    from maskrcnn_benchmark.prediction.bulk.local import LocalWork

logger = logging.getLogger(__name__)

_Model: TypeAlias = tuple[str, str | None, str | None, tuple[str, ...]]
"""File, file of settings, device and settings of a model."""
_PLACE: Final = MappingProxyType({"RANK": 0, "WORLD_SIZE": 1})
"""What torchrun sets, and what holds without it."""


def add_bulk(parser: argparse.ArgumentParser) -> None:
    """Let results of many photos be written, in runs that go on where the last one ended."""
    group = parser.add_argument_group(f"many photos (--output NAME{JSON_LINES} or NAME{PARQUET})")
    add = group.add_argument
    add("--resume", action="store_true", help="go on with OUTPUT, or begin it")
    add("--batch", type=int, default=1, metavar="N", help="photos at once (default: 1)")
    add("--ray", type=int, default=0, metavar="N", help="N processes of a Ray cluster")


def is_bulk(args: argparse.Namespace, parser: argparse.ArgumentParser) -> bool:
    """Whether results of many photos are asked for; words that do not fit end the program."""
    if args.batch < 1 or args.ray < 0:
        parser.error("--batch and --ray: expected a positive number")
    if is_result_path(args.output):
        drawing = ("save_json", "save_masks", "crops", "font")
        given = [f"--{name.replace('_', '-')}" for name in drawing if getattr(args, name)]
        if given:
            parser.error(f"{', '.join(given)}: nothing is drawn with --output {args.output}")
        return True
    if args.resume or args.ray or args.batch > 1:
        parser.error(
            "--resume, --batch and --ray are for results of many photos; expected "
            f"--output NAME{JSON_LINES} or NAME{PARQUET}, got {args.output}"
        )
    return False


def predict_many(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if a photo of this run got an error instead of a result.

    Of several processes each ends with 0 then, as torchrun stops all when one does not.
    """
    setup_environment()
    rank, world_size = (int(os.environ.get(name, n)) for name, n in _PLACE.items())
    setup_logger(PACKAGE_LOGGER, None, rank)
    if world_size > 1 and (args.ray or not args.resume):
        raise ConfigError("several processes: give each of them --resume, and leave --ray out")
    photos = find_bulk_photos(args.sources)
    files = make_result_files(args.output, rank, world_size)
    share = share_of(photos, rank, world_size)
    if world_size > 1:
        counts = (rank, world_size, len(share), len(photos))
        logger.info("Process %d of %d: %d of %d photos are its work", *counts)
    with log_exit():
        num_faulty = _predict(args, files, share)
    return 1 if num_faulty and world_size == 1 else 0


def _predict(args: argparse.Namespace, files: ResultFiles, photos: Sequence[BulkPhoto]) -> int:
    """The number of photos of this run that got an error."""
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.prediction.bulk.ray_data import RayWork
    from maskrcnn_benchmark.prediction.bulk.run import run_bulk

    model = (args.model, args.config_file, args.device, tuple(args.opts))
    described = _described(model)
    own = described.score_threshold
    threshold = own if args.threshold is None else args.threshold
    claim(files, make_manifest(args, described, threshold), is_resumed=args.resume)
    make_work = functools.partial(_load_work, model, threshold, args.batch)

    def work(left: Sequence[BulkPhoto]) -> Iterable[Record]:
        # Only here: where nothing is left to do, no model is loaded.
        if args.ray:
            gpus = int(described.on_gpu)
            return RayWork(make_work, processes=args.ray, gpus=gpus)(left)
        return make_work()(left)

    outcome = run_bulk(photos, work, files)
    told = "%d of %d photos are done, %d of them in this run with an error, in %s"
    logger.info(told, outcome.done, len(photos), outcome.faulty, args.output)
    return outcome.faulty


def _load_work(model: _Model, threshold: float, batch: int) -> "LocalWork":
    """The work that a model does in this process, which may be one of Ray's."""
    from maskrcnn_benchmark.prediction.bulk.local import LocalWork

    return LocalWork(load_any_predictor(*model), threshold, batch)


class _Described(NamedTuple):
    """What the results depend on of a model.

    Attributes:
        weights: its file, or the name of what is downloaded.
        settings: its settings, without those of this machine; an exported file is its own.
        score_threshold: from which score on objects are worth showing.
        on_gpu: whether it runs on one.
    """

    weights: str
    settings: dict[str, Any]
    score_threshold: float
    on_gpu: bool


def _described(model: _Model) -> _Described:
    return _described_export(model) if is_exported(model[0]) else _described_checkpoint(model)


def _described_export(model: _Model) -> _Described:
    predictor = load_any_predictor(*model)
    on_gpu = (model[2] or "cpu") != "cpu"
    return _Described(model[0], {}, predictor.score_threshold, on_gpu)


def _described_checkpoint(model: _Model) -> _Described:
    from maskrcnn_benchmark.engine.predictor import DEFAULT_SCORE_THRESHOLD
    from maskrcnn_benchmark.weights.description import drop_local_settings, find_description

    cfg = load_model_settings(*model)
    settings = yaml.safe_load(cfg.dump())
    drop_local_settings(settings)
    weights = cfg.MODEL.WEIGHT
    description = find_description(weights) if Path(weights).is_file() else None
    own = description.score_threshold if description else None
    threshold = DEFAULT_SCORE_THRESHOLD if own is None else own
    return _Described(weights, settings, threshold, cfg.MODEL.DEVICE != "cpu")


def make_manifest(args: argparse.Namespace, model: _Described, threshold: float) -> dict[str, Any]:
    """What the results depend on."""
    weights = Path(model.weights).expanduser()
    return {
        # A model that is downloaded is known by the name of its file.
        "checkpoint": digest_of(weights) if weights.is_file() else model.weights,
        "sources": args.sources,
        "threshold": threshold,
        "settings": model.settings,
    }
