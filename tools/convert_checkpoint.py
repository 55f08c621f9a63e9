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
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.weight_settings import (
    PIXEL_MEAN,
    PIXEL_STD,
    TO_BGR255,
    WeightSettings,
)
from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.engine.forward import build_model
from maskrcnn_benchmark.engine.settings import load_settings, make_settings_final
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.export import export_body
from maskrcnn_benchmark.weights.files import write_safetensors, write_torch_file
from maskrcnn_benchmark.weights.library import build_library_network
from maskrcnn_benchmark.weights.load_report import CheckpointError, LoadReport, summarize
from maskrcnn_benchmark.weights.sources import SETTINGS_ENTRY

# In front of the names of a body's tensors.
_BODY = "backbone.body."

logger = logging.getLogger(f"{PACKAGE_LOGGER}.tools.convert_checkpoint")


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


def make_settings(args: argparse.Namespace) -> CfgNode:
    """The frozen settings of the model, on the CPU, with what the weights need."""
    fixed = ["MODEL.WEIGHT", args.input, "MODEL.DEVICE", "cpu"]
    return make_settings_final(load_settings(args.config_file, [*args.opts, *fixed]), by_names=True)


def load_model(cfg: CfgNode) -> tuple[nn.Module, LoadReport]:
    """The model with what fits of MODEL.WEIGHT, and the fate of every tensor.

    Raises:
        CheckpointError: the weights are absent or damaged, or nothing fits.
    """
    model = build_model(cfg, torch.device("cpu"))
    checkpointer = DetectronCheckpointer(cfg, model)
    checkpointer.load(cfg.MODEL.WEIGHT)
    report = checkpointer.last_report
    if report is None:
        raise CheckpointError("INPUT: expected a file, URL or catalog://NAME, got nothing")
    return model, report


def write_checkpoint(cfg: CfgNode, target: Path) -> None:
    """Write what fits of MODEL.WEIGHT to a checkpoint of ours."""
    model, report = load_model(cfg)
    tensors = model.state_dict()
    settings = WeightSettings.from_config(cfg)
    loaded = {name: tensors[name] for name in report.loaded}
    write_torch_file({"model": loaded, SETTINGS_ENTRY: settings.by_key()}, target)
    what = "the whole model" if report.is_exact else "a part of the model"
    logger.info("%s: wrote %d tensors, %s", target, len(report.loaded), what)
    logger.info("Recorded in it: %s", settings.as_options())


def write_library_file(cfg: CfgNode, library_model: str, target: Path) -> None:
    """Write the body in MODEL.WEIGHT as a state dict for a network of a library.

    Raises:
        CheckpointError: the network cannot compute what the body computes.
    """
    network = build_library_network(library_model).state_dict()
    model, report = load_model(cfg)
    tensors = model.state_dict()
    body = {n.removeprefix(_BODY): tensors[n] for n in report.loaded if n.startswith(_BODY)}
    settings = WeightSettings.from_config(cfg)
    try:
        exported = export_body(body, settings, network)
    except CheckpointError as error:
        raise CheckpointError(f"--to {library_model}: {error}") from None
    if target.suffix == ".safetensors":
        write_safetensors(exported, target)
    else:
        write_torch_file(exported, target)
    kept = tuple(name for name in network if name not in exported)
    logger.info("%s: wrote %d tensors for %s", target, len(exported), library_model)
    logger.info("Not in it: %s", summarize(kept))
    logger.info("Give it images of: %s", settings.as_options((TO_BGR255, PIXEL_MEAN, PIXEL_STD)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_args(arguments)
    setup_logger(PACKAGE_LOGGER, None, 0)
    target: Path = args.output
    if target.exists() and not args.overwrite:
        raise CheckpointError(f"{target} exists; name another OUTPUT, or say --overwrite")
    cfg = make_settings(args)
    if args.to:
        write_library_file(cfg, args.to, target)
    else:
        write_checkpoint(cfg, target)


if __name__ == "__main__":
    with plain_errors():
        main()
