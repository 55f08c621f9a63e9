"""The settings that a checkpoint, or a file beside it, has of its model. Imports PyTorch."""

from collections.abc import Mapping

import torch

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.shipped import find_config
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.weights.description import find_description, read_description


def checkpoint_settings(checkpoint: str, config_file: str | None, device: str | None) -> CfgNode:
    """The settings of the model in a checkpoint, on a device of this machine.

    Args:
        checkpoint: its file.
        config_file: settings for checkpoints that have none; they win.
        device: "cpu", "cuda" or "cuda:N"; None takes a GPU if there is one.

    Raises:
        CheckpointError: there is no such file, or it does not say which model it is of.
        ConfigError: a setting cannot be used.
    """
    if config_file:
        cfg = load_settings(find_config(config_file))
    else:
        cfg = read_description(checkpoint).settings()
    cfg.MODEL.WEIGHT = checkpoint
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return cfg


def class_ids(checkpoint: str, class_names: Mapping[int, str]) -> dict[int, int]:
    """Label to the class's id in the annotations; the label itself where the file says nothing."""
    description = find_description(checkpoint)
    if description is None:
        return {label: label for label in class_names}
    return {label: category.id for label, category in enumerate(description.categories, start=1)}
