"""The trained model that a command runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.shipped import find_config
from maskrcnn_benchmark.engine.settings import load_checkpoint_settings, make_settings_final

if TYPE_CHECKING:
    from maskrcnn_benchmark.config import CfgNode
    from maskrcnn_benchmark.engine.predictor import Predictor


def load_model_settings(
    model: str, config_file: str | None, device: str | None, opts: Sequence[str]
) -> "CfgNode":
    """The final settings of the model in a file; arguments and errors as in ``load_predictor``."""
    path = Path(model).expanduser()
    if not path.is_file():
        raise ConfigError(f"no such model: {model} (looked for {path.absolute()})")
    own_file = find_config(config_file) if config_file else ""
    cfg = load_checkpoint_settings(path, own_file, device)
    cfg.merge_from_list(list(opts))
    return make_settings_final(cfg)


def load_predictor(
    model: str, config_file: str | None, device: str | None, opts: Sequence[str]
) -> "Predictor":
    """The predictor of the model in a file.

    Args:
        model: a checkpoint.
        config_file: settings, for checkpoints that have none.
        device: "cpu", "cuda" or "cuda:N"; None takes a GPU if there is one.
        opts: names and values of settings in turn, over all others.

    Raises:
        ConfigError: there is no such file, or a setting cannot be used.
        CheckpointError: the file is none that can be used.
    """
    cfg = load_model_settings(model, config_file, device, opts)
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.engine.predictor import Predictor

    return Predictor.from_config(cfg, os.path.expanduser(model))
