"""The settings of a run: read in one place, and made final in one place.

Imports no PyTorch, so that a tool can report a wrong setting at once.
"""

from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.config import CfgNode, get_default_config


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


def make_settings_final(cfg: CfgNode, *, by_names: bool = False) -> CfgNode:
    """The same settings, frozen, after those were set that MODEL.WEIGHT needs.

    ``by_names`` is that of ``make_settings_match_weights``.

    Raises:
        ConfigError: given settings contradict MODEL.WEIGHT; or they are frozen, and would change.
    """
    # Needs PyTorch, to look into checkpoints.
    from maskrcnn_benchmark.weights.sources import make_settings_match_weights

    make_settings_match_weights(cfg, by_names=by_names)
    cfg.freeze()
    return cfg
