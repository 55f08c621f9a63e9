"""The dense detectors by name: what settings and data have to know of each, and its builder.

``modeling/dense/__init__.py`` registers the shipped ones; a script registers its own with
``FAMILIES.register(name, Family(...))``.
"""

import dataclasses
import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from maskrcnn_benchmark.config.coerce import coerce
from maskrcnn_benchmark.config.errors import UnknownNameError
from maskrcnn_benchmark.config.registry import Registry

Settings = TypeVar("Settings")

SETTINGS_KEY: Final = "MODEL.DENSE.SETTINGS"


@dataclass(frozen=True, slots=True)
class NoSettings:
    """What a detector without settings of its own reads of MODEL.DENSE.SETTINGS."""


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of dense detector.

    Attributes:
        build: (cfg, in_channels, spec, levels) -> the stage that finds the boxes, called with
            (images, features, targets=None). ``spec.settings`` are the settings of its own,
            ``levels`` channels and strides of the maps, None for backbones that do not say.
        class_keys: full names of the keys with its class count; () if it knows no classes.
        gives_labels: its boxes have the field ``labels``, so that they are detections, or work for
            heads that need classes; otherwise they are proposals.
        gives_masks: its detections have the field ``mask``, without a mask head.
        settings: frozen dataclass of the settings that it alone has, all with defaults; their names
            in capitals are keys of MODEL.DENSE.SETTINGS.
    """

    build: Callable[..., Any]
    class_keys: tuple[str, ...] = ("MODEL.NUM_CLASSES",)
    gives_labels: bool = True
    gives_masks: bool = False
    settings: type[Any] = NoSettings


FAMILIES: Final = Registry[Family]("dense detector (MODEL.DENSE.FAMILY)")


def family_of(name: str) -> Family:
    """The detector of this name.

    Raises:
        UnknownNameError: there is none; the message lists the known ones.
    """
    # Settings may not know models: their room registers its detectors when it is imported.
    importlib.import_module("maskrcnn_benchmark.modeling.dense")
    return FAMILIES[name]


def read_settings(section: Mapping[str, object], kind: type[Settings]) -> Settings:
    """The settings that a detector has of its own.

    Args:
        section: MODEL.DENSE.SETTINGS.
        kind: see ``Family.settings``.

    Raises:
        UnknownNameError: a key that it does not have.
        ConfigError: a value of another type than the default's.
    """
    defaults = kind()
    names = {each.name.upper(): each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, raw in section.items():
        full = f"{SETTINGS_KEY}.{key}"
        if key not in names:
            nearest = difflib.get_close_matches(key.upper(), names, n=1, cutoff=0.0)
            known = (
                f"the nearest known key is {SETTINGS_KEY}.{nearest[0]}"
                if nearest
                else "none is known"
            )
            raise UnknownNameError(f"unknown key {full}; {known}")
        values[names[key]] = coerce(raw, getattr(defaults, names[key]), full)
    return kind(**values)
