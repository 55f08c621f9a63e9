"""Weight files of one program written for another."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.weight_settings import (
    PIXEL_MEAN,
    PIXEL_STD,
    TO_BGR255,
    WeightSettings,
)
from maskrcnn_benchmark.engine.forward import build_model
from maskrcnn_benchmark.engine.settings import make_settings_final
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.description import DESCRIPTION_ENTRY, find_description
from maskrcnn_benchmark.weights.export import export_body
from maskrcnn_benchmark.weights.files import write_safetensors, write_torch_file
from maskrcnn_benchmark.weights.library import build_library_network
from maskrcnn_benchmark.weights.load_report import CheckpointError, LoadReport, summarize
from maskrcnn_benchmark.weights.sources import SETTINGS_ENTRY

# In front of the names of a body's tensors.
_BODY = "backbone.body."

logger = logging.getLogger(__name__)


def _build_loaded_model(cfg: CfgNode) -> tuple[nn.Module, LoadReport]:
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


def make_conversion(
    cfg: CfgNode, target: Path, *, library: str | None = None, overwrite: bool = False
) -> None:
    """Write MODEL.WEIGHT as a checkpoint of ours, or its body for a network of a library.

    Args:
        cfg: settings of the model; those that the weights need are set, and all are frozen.
        target: the file.
        library: "torchvision/MODEL" or "timm/MODEL"; None writes a checkpoint of ours.
        overwrite: replace the file if there is one.

    Raises:
        CheckpointError: the file exists, or the weights are absent, damaged, or do not fit.
        ConfigError: given settings contradict the weights.
    """
    if target.exists() and not overwrite:
        raise CheckpointError(f"{target} exists; name another OUTPUT, or say --overwrite")
    make_settings_final(cfg, by_names=True)
    if library:
        make_library_file(cfg, library, target)
    else:
        make_checkpoint(cfg, target)


def make_checkpoint(cfg: CfgNode, target: Path) -> None:
    """Write what fits of MODEL.WEIGHT to a checkpoint of ours."""
    model, report = _build_loaded_model(cfg)
    tensors = model.state_dict()
    settings = WeightSettings.from_config(cfg)
    loaded = {name: tensors[name] for name in report.loaded}
    content: dict[str, Any] = {"model": loaded, SETTINGS_ENTRY: settings.by_key()}
    described = find_description(cfg.MODEL.WEIGHT)
    if described is not None and report.is_exact:
        # The same model, which keeps its classes.
        content[DESCRIPTION_ENTRY] = replace(described, config=cfg.dump()).as_entry()
    write_torch_file(content, target)
    what = "the whole model" if report.is_exact else "a part of the model"
    logger.info("%s: wrote %d tensors, %s", target, len(report.loaded), what)
    logger.info("Recorded in it: %s", settings.as_options())


def make_library_file(cfg: CfgNode, library_model: str, target: Path) -> None:
    """Write the body in MODEL.WEIGHT as a state dict for a network of a library.

    Raises:
        CheckpointError: the network cannot compute what the body computes.
    """
    network = build_library_network(library_model).state_dict()
    model, report = _build_loaded_model(cfg)
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
