"""Every registry of the package: names that YAML files use -> builders of model parts.

Backbone builders are called as ``builder(cfg)``, all others as ``builder(cfg, in_channels)``, those
of RPN heads that take it with the number of anchors of a cell behind, level mappers as
``builder(k_min, k_max)``.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

from torch import nn

from maskrcnn_benchmark.config.errors import UnknownNameError

T = TypeVar("T")
Item = TypeVar("Item")
ModuleBuilder = Callable[..., nn.Module]


class Registry(Mapping[str, T]):
    """A table from the names used in configurations to the things that build them.

    A read-only mapping in alphabetical order.

    Args:
        kind: what the entries are, in singular, for error messages ("backbone").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T | None = None) -> Callable[[Item], Item]:
        """A decorator that enters the decorated object under ``name`` and returns it unchanged.

        Decorators can be stacked to enter one object under several names. ``entry`` given
        directly (``registry.register("name", builder)``) is entered at once.

        Raises:
            ValueError: when another object already has that name.
        """

        def enter(item: Item) -> Item:
            known: object = self._entries.setdefault(name, cast(T, item))
            if known is not item:
                raise ValueError(f"{self.kind} {name!r} is already registered as {known!r}")
            return item

        if entry is not None:
            enter(entry)
        return enter

    def __getitem__(self, name: str) -> T:
        """The entry registered under ``name``.

        Raises:
            UnknownNameError: when the name is unknown; the message lists the known ones.
        """
        if name in self._entries:
            return self._entries[name]
        known = ", ".join(self.names()) or "none"
        raise UnknownNameError(f"unknown {self.kind} {name!r}; known: {known}")

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> tuple[str, ...]:
        """The registered names in alphabetical order."""
        return tuple(sorted(self._entries))

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self.names())})"


def accepts(function: Callable[..., object], num_arguments: int) -> bool:
    """Whether a function can be called with so many arguments.

    Tells parts of a model that were written for the original from those with arguments of here.
    """
    try:
        inspect.signature(function).bind(*range(num_arguments))
    except TypeError:
        return False
    return True


BACKBONES: Registry[ModuleBuilder] = Registry(
    "backbone (MODEL.BACKBONE.CONV_BODY)",
)
RPN_HEADS: Registry[ModuleBuilder] = Registry(
    "RPN head (MODEL.RPN.RPN_HEAD)",
)
FCOS_HEADS: Registry[ModuleBuilder] = Registry("FCOS head (MODEL.FCOS.HEAD)")
ROI_BOX_FEATURE_EXTRACTORS: Registry[ModuleBuilder] = Registry(
    "box feature extractor (MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR)",
)
ROI_BOX_PREDICTOR: Registry[ModuleBuilder] = Registry(
    "box predictor (MODEL.ROI_BOX_HEAD.PREDICTOR)"
)
ROI_MASK_FEATURE_EXTRACTORS: Registry[ModuleBuilder] = Registry(
    "mask feature extractor (MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR)",
)
ROI_MASK_PREDICTOR: Registry[ModuleBuilder] = Registry(
    "mask predictor (MODEL.ROI_MASK_HEAD.PREDICTOR)"
)
ROI_MASKIOU_FEATURE_EXTRACTORS: Registry[ModuleBuilder] = Registry(
    "mask-IoU feature extractor (MODEL.ROI_MASKIOU_HEAD.FEATURE_EXTRACTOR)"
)
ROI_MASKIOU_PREDICTOR: Registry[ModuleBuilder] = Registry(
    "mask-IoU predictor (MODEL.ROI_MASKIOU_HEAD.PREDICTOR)"
)
ROI_KEYPOINT_FEATURE_EXTRACTORS: Registry[ModuleBuilder] = Registry(
    "keypoint feature extractor (MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR)",
)
ROI_KEYPOINT_PREDICTOR: Registry[ModuleBuilder] = Registry(
    "keypoint predictor (MODEL.ROI_KEYPOINT_HEAD.PREDICTOR)"
)
LEVEL_MAPPERS: Registry[Callable[..., Any]] = Registry(
    "level mapper (MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION)"
)
