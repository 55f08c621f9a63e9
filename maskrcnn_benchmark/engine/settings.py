"""The settings of a run: read in one place, and made final in one place.

Imports no PyTorch, so that a tool can report a wrong setting at once.
"""

from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.config import CfgNode, get_default_config


def load_settings(config_file: str | Path = "", opts: Sequence[object] = ()) -> CfgNode:
    """The defaults, with a file's settings and then those of a command line over them.

    Args:
        config_file: YAML file; ``""`` for none.
        opts: names and values in turn.

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

    Args:
        cfg: the whole tree; if it is frozen already, it must fit.
        by_names: see ``make_settings_match_weights``.

    Raises:
        ConfigError: given settings contradict MODEL.WEIGHT.
    """
    # Needs PyTorch, to look into checkpoints.
    from maskrcnn_benchmark.weights.sources import make_settings_match_weights

    make_settings_match_weights(cfg, by_names=by_names)
    cfg.freeze()
    return cfg
