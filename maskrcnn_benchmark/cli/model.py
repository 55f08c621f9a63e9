"""The trained model that a command runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.shipped import find_config

if TYPE_CHECKING:
    from maskrcnn_benchmark.engine.predictor import Predictor


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
    if not Path(model).is_file():
        raise ConfigError(f"no such model: {model} (looked for {Path(model).absolute()})")
    own_file = find_config(config_file) if config_file else ""
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.engine.predictor import Predictor
    from maskrcnn_benchmark.engine.settings import load_checkpoint_settings, make_settings_final

    cfg = load_checkpoint_settings(model, own_file, device)
    cfg.merge_from_list(list(opts))
    return Predictor.from_config(make_settings_final(cfg), model)
