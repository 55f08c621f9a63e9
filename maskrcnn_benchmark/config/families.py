"""The dense detectors by name: what settings and data have to know of each, and its builder.

``modeling/dense/__init__.py`` registers the shipped ones; a script registers its own with
``FAMILIES.register(name, Family(...))``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

from maskrcnn_benchmark.config.node import CfgNode, nested
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
        learns_crowds: targets have crowds, too, with the label -1.
        settings: frozen dataclass of the settings that it alone has, all with defaults; their names
            in capitals are keys of MODEL.DENSE.SETTINGS.
        threshold_key: full name of the setting that the class score of what may become a detection
            must exceed.
        ignores_background: it has a logit for the background, too, beside those of the classes,
            each of which has a sigmoid of its own.
        has_rules: it computes by the rules that MODEL.CONVENTION names; others know the original's.
        pixel_offset: of the boxes in its targets, see ``BoxList``; None: by MODEL.CONVENTION.
        heads: RoI heads that it has in a form of its own, by their names in ``ROI_HEAD_TRAITS``:
            (cfg, in_channels, spec, levels) -> the head.
    """

    build: Callable[..., Any]
    class_keys: tuple[str, ...] = ("MODEL.NUM_CLASSES",)
    gives_labels: bool = True
    gives_masks: bool = False
    learns_crowds: bool = False
    settings: type[Any] = NoSettings
    threshold_key: str = f"{SETTINGS_KEY}.SCORE_THRESHOLD"
    ignores_background: bool = False
    has_rules: bool = False
    pixel_offset: int | None = None
    heads: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


FAMILIES: Final = Registry[Family](
    "dense detector (MODEL.DENSE.FAMILY)", filled_by="maskrcnn_benchmark.modeling.dense"
)


def read_settings(section: Mapping[str, object], kind: type[Settings]) -> Settings:
    """The settings that a detector has of its own, of the class ``Family.settings``.

    Raises:
        UnknownNameError: MODEL.DENSE.SETTINGS has a key that the class does not know.
        ConfigError: a value of another type than the default's.
    """
    # mypy does not see that a type of settings is a dataclass.
    names = {each.name.upper(): each.name for each in fields(kind)}  # type: ignore[arg-type]
    defaults = {key: getattr(kind(), name) for key, name in names.items()}
    tree = CfgNode(nested(SETTINGS_KEY, defaults))
    tree.merge_from_list([SETTINGS_KEY, section])
    return kind(**{names[key]: value for key, value in tree.lookup(SETTINGS_KEY).items()})
