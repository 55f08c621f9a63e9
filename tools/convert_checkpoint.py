#!/usr/bin/env python3
"""Convert a weight file of another program to a checkpoint for a model of this one.

    python tools/convert_checkpoint.py --config-file CONFIG INPUT OUTPUT [KEY VALUE ...]

INPUT is a file, URL or catalog:// name of any layout that docs/checkpoints.md lists; its kind is
found out by itself. The log says what became of each tensor. OUTPUT holds the tensors that fit the
model of CONFIG, and the settings that they need.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from maskrcnn_benchmark.config import CfgNode, get_default_config
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.engine.launch import PACKAGE_LOGGER, plain_errors
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.utils.load_report import CheckpointError, LoadReport
from maskrcnn_benchmark.utils.logger import setup_logger
from maskrcnn_benchmark.utils.weight_sources import SETTINGS_ENTRY, make_settings_fit

logger = logging.getLogger(f"{PACKAGE_LOGGER}.tools.convert_checkpoint")


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="settings of the model"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    parser.add_argument("input", metavar="INPUT", help="file, URL or catalog://NAME")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the checkpoint to write")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings after the file's"
    )
    return parser.parse_args(arguments)


def make_settings(args: argparse.Namespace) -> CfgNode:
    """The frozen settings of the model, on the CPU, with what the weights need."""
    cfg = get_default_config()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.merge_from_list(["MODEL.WEIGHT", args.input, "MODEL.DEVICE", "cpu"])
    make_settings_fit(cfg, by_names=True)
    cfg.freeze()
    return cfg


def make_checkpoint(cfg: CfgNode, target: Path) -> LoadReport:
    """Write what fits of MODEL.WEIGHT to a checkpoint; returns the fate of every tensor.

    Raises:
        CheckpointError: the weights are absent or damaged, or nothing fits.
    """
    model = build_detection_model(cfg)
    checkpointer = DetectronCheckpointer(cfg, model)
    checkpointer.load(cfg.MODEL.WEIGHT)
    report = checkpointer.last_report
    if report is None:
        raise CheckpointError("INPUT: expected a file, URL or catalog://NAME, got nothing")
    tensors = model.state_dict()
    content = {
        "model": {name: tensors[name] for name in report.loaded},
        SETTINGS_ENTRY: WeightSettings.from_config(cfg).by_key(),
    }
    with atomic_write(target) as file:
        torch.save(content, file)
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_args(arguments)
    setup_logger(PACKAGE_LOGGER, None, 0)
    target: Path = args.output
    if target.exists() and not args.overwrite:
        raise CheckpointError(f"{target} exists; name another OUTPUT, or say --overwrite")
    cfg = make_settings(args)
    report = make_checkpoint(cfg, target)
    what = "the whole model" if report.is_exact else "a part of the model"
    logger.info("%s: wrote %d tensors, %s", target, len(report.loaded), what)
    logger.info("Recorded in it: %s", WeightSettings.from_config(cfg).in_words())


if __name__ == "__main__":
    with plain_errors():
        main()
