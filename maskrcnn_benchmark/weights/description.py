"""What a checkpoint says of its model: all that is needed to use it without any other file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from maskrcnn_benchmark import __version__
from maskrcnn_benchmark.config import CfgNode, get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.weight_settings import make_pixel_mean
from maskrcnn_benchmark.weights.files import read_mapped
from maskrcnn_benchmark.weights.load_report import CheckpointError

DESCRIPTION_ENTRY: Final = "description"
"""Entry of a checkpoint."""

_LOCAL_KEYS: Final = ("PATHS_CATALOG", "OUTPUT_DIR", "MODEL.DEVICE", "MODEL.WEIGHT")
"""Settings that belong to the machine of the training. A catalog would even be run."""


class Category(NamedTuple):
    """One class of a model.

    Attributes:
        id: in annotations and in results.
        name: what people call it.
    """

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model in words.

    Attributes:
        config: all settings, as YAML.
        categories: by label, from 1.
        version: of this package, that wrote it.
        score_threshold: from which score on objects are worth showing, in [0, 1]: where F1 was best
            on validation photos. None if nobody looked.
    """

    config: str
    categories: tuple[Category, ...]
    version: str = __version__
    score_threshold: float | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode, categories: Sequence[Category]) -> "ModelDescription":
        """That of a model with these settings and classes."""
        own = cfg.clone()
        own.defrost()
        # All settings count as given where they are read.
        own.INPUT.PIXEL_MEAN = list(make_pixel_mean(cfg))
        return cls(own.dump(), tuple(categories))

    @classmethod
    def from_entry(cls, entry: object) -> "ModelDescription | None":
        """What ``as_entry`` made; None for anything else, as a file may hold anything."""
        if not isinstance(entry, Mapping):
            return None
        config, version = entry.get("config"), entry.get("version")
        ids, names = entry.get("category_ids"), entry.get("category_names")
        if not (isinstance(config, str) and isinstance(version, str)):
            return None
        if not (isinstance(ids, list) and isinstance(names, list) and len(ids) == len(names)):
            return None
        if not all(type(one) is int for one in ids) or not all(type(one) is str for one in names):
            return None
        threshold = entry.get("score_threshold")
        if not (threshold is None or (type(threshold) is float and 0 <= threshold <= 1)):
            return None
        return cls(config, tuple(map(Category, ids, names)), version, threshold)

    def as_entry(self) -> dict[str, Any]:
        """Texts, numbers and lists, which a checkpoint can hold."""
        return {
            "config": self.config,
            "category_ids": [one.id for one in self.categories],
            "category_names": [one.name for one in self.categories],
            "version": self.version,
            "score_threshold": self.score_threshold,
        }

    def class_names(self) -> dict[int, str]:
        """Label to name."""
        return {label: one.name for label, one in enumerate(self.categories, start=1)}

    def class_ids(self) -> dict[int, int]:
        """Label to the class's id in annotations."""
        return {label: one.id for label, one in enumerate(self.categories, start=1)}

    def settings(self) -> CfgNode:
        """The settings, without those of the machine that wrote them.

        Raises:
            ConfigError: they are none that this version knows.
        """
        cfg = get_default_config()
        try:
            content = yaml.safe_load(self.config)
        except yaml.YAMLError as error:
            raise ConfigError(f"the settings in the checkpoint are no YAML: {error}") from error
        if not isinstance(content, dict):
            raise ConfigError("the settings in the checkpoint are no mapping")
        drop_local_settings(content)
        cfg.merge_from_other_cfg(content)
        return cfg


def drop_local_settings(content: dict[str, Any]) -> None:
    """Take those out of some settings, as nested mappings, that are of one machine or one run."""
    for key in _LOCAL_KEYS:
        *sections, name = key.split(".")
        place: Any = content
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(name, None)


def find_description(path: str | os.PathLike[str]) -> ModelDescription | None:
    """What a checkpoint says of its model; None if it says nothing, or is none of ours."""
    content = read_mapped(path)
    return ModelDescription.from_entry(content.get(DESCRIPTION_ENTRY))


def read_description(path: str | os.PathLike[str]) -> ModelDescription:
    """What a checkpoint says of its model.

    Raises:
        CheckpointError: there is no such file, or it says nothing.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file (looked for {Path(path).absolute()})")
    description = find_description(path)
    if description is None:
        raise CheckpointError(
            f"{path} does not say which model it is of, as checkpoints do that this version wrote; "
            "give its settings, too: --config-file, or Predictor.from_config"
        )
    return description
