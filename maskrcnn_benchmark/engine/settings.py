"""The settings of a run: read in one place, and made final in one place.

Imports no PyTorch, so that a tool can report a wrong setting at once.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.config import CfgNode, get_default_config
from maskrcnn_benchmark.config.weight_settings import make_pixel_mean


def load_settings(config_file: str | Path = "", opts: Sequence[object] = ()) -> CfgNode:
    """The defaults, under a file's settings (``""``: no file), under those of a command line.

    Raises:
        ConfigError: a name is unknown, or a value of another type.
    """
    settings = get_default_config()
    if config_file:
        settings.merge_from_file(config_file)
    settings.merge_from_list(list(opts))
    return settings


def load_checkpoint_settings(
    checkpoint: str | Path, config_file: str | Path = "", device: str | None = None
) -> CfgNode:
    """The settings of the model in a checkpoint, for a device of this machine.

    Args:
        checkpoint: its file.
        config_file: settings for checkpoints that have none; they win.
        device: "cpu", "cuda" or "cuda:N"; None takes a GPU if there is one.

    Raises:
        CheckpointError: there is no such file, or it does not say which model it is of.
        ConfigError: a setting cannot be used.
    """
    # Need PyTorch, to look into the checkpoint and for a GPU.
    import torch

    from maskrcnn_benchmark.weights.description import read_description

    own = load_settings(config_file) if config_file else None
    cfg = own or read_description(checkpoint).settings()
    cfg.MODEL.WEIGHT = str(checkpoint)
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return cfg


def make_settings_final(cfg: CfgNode, *, by_names: bool = False) -> CfgNode:
    """The same settings, frozen, after those were set that MODEL.WEIGHT and MODEL.CONVENTION need.

    ``by_names`` is that of ``make_settings_match_weights``.

    Raises:
        ConfigError: given settings contradict MODEL.WEIGHT; or they are frozen, and would change.
    """
    # Needs PyTorch, to look into checkpoints.
    from maskrcnn_benchmark.weights.sources import make_settings_match_weights

    make_settings_match_weights(cfg, by_names=by_names)
    if not cfg.is_frozen():
        # What is written down is what counts, whoever reads it.
        cfg.INPUT.PIXEL_MEAN = list(make_pixel_mean(cfg))
    cfg.freeze()
    return cfg


def make_paths_full(cfg: CfgNode) -> None:
    """Replace "~" by the home folder, which a shell does for the words of a command line alone."""
    for section, key in ((cfg, "OUTPUT_DIR"), (cfg.MODEL, "WEIGHT"), (cfg, "PATHS_CATALOG")):
        if section[key].startswith("~"):
            setattr(section, key, os.path.expanduser(section[key]))
