"""Settings that weights depend on and that their tensors do not show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from maskrcnn_benchmark.config.convention import Convention
from maskrcnn_benchmark.config.defaults import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.node import CfgNode
from maskrcnn_benchmark.config.registry import Registry

TO_BGR255 = "INPUT.TO_BGR255"
PIXEL_MEAN = "INPUT.PIXEL_MEAN"
PIXEL_STD = "INPUT.PIXEL_STD"
STRIDE_IN_1X1 = "MODEL.RESNETS.STRIDE_IN_1X1"
CONVENTION = "MODEL.CONVENTION"
# Backbone -> full names of the settings below MODEL that its weights depend on.
WEIGHT_KEYS: Final = Registry[tuple[str, ...]](
    "backbone with weights of several kinds", filled_by="maskrcnn_benchmark.modeling.backbone"
)


@dataclass(frozen=True, slots=True)
class WeightSettings:
    """The images and rules that weights were trained with, and where a ResNet's strides were.

    A model with other settings loads the same weights without a complaint, and finds less.

    Attributes:
        to_bgr255: channels were B, G, R on 0..255; otherwise R, G, B on 0..1.
        pixel_mean: was subtracted, in that order and on that scale.
        pixel_std: divided what was left.
        stride_in_1x1: whether a stage's stride was in its first 1x1 convolution; None for bodies
            other than ResNets.
        convention: name of the rules of a whole detector; None of a body, which has none.
    """

    to_bgr255: bool
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    stride_in_1x1: bool | None = None
    convention: str | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> WeightSettings:
        """What a model of ``cfg`` sees."""
        has_stride = STRIDE_IN_1X1 in WEIGHT_KEYS.get(cfg.MODEL.BACKBONE.CONV_BODY, ())
        return cls(
            to_bgr255=cfg.INPUT.TO_BGR255,
            pixel_mean=make_pixel_mean(cfg),
            pixel_std=tuple(cfg.INPUT.PIXEL_STD),
            stride_in_1x1=cfg.MODEL.RESNETS.STRIDE_IN_1X1 if has_stride else None,
            convention=cfg.MODEL.CONVENTION,
        )

    @classmethod
    def from_keys(cls, keys: object) -> WeightSettings | None:
        """The settings that ``by_key`` wrote, None for anything else (a file may hold anything)."""
        if not isinstance(keys, Mapping):
            return None
        to_bgr255, stride = keys.get(TO_BGR255), keys.get(STRIDE_IN_1X1)
        mean, std = (_numbers(keys.get(key)) for key in (PIXEL_MEAN, PIXEL_STD))
        if not isinstance(to_bgr255, bool) or mean is None or std is None:
            return None
        convention = keys.get(CONVENTION)
        return cls(
            to_bgr255,
            mean,
            std,
            stride_in_1x1=stride if isinstance(stride, bool) else None,
            convention=convention if isinstance(convention, str) else None,
        )

    def by_key(self) -> dict[str, Any]:
        """Full name of each setting -> value; only those that matter for these weights."""
        keys: dict[str, Any] = {
            TO_BGR255: self.to_bgr255,
            PIXEL_MEAN: list(self.pixel_mean),
            PIXEL_STD: list(self.pixel_std),
        }
        if self.stride_in_1x1 is not None:
            keys[STRIDE_IN_1X1] = self.stride_in_1x1
        if self.convention is not None:
            keys[CONVENTION] = self.convention
        return keys

    def differing(self, other: WeightSettings) -> tuple[str, ...]:
        """Full names of the settings that both have with different values."""
        mine, theirs = self.by_key(), other.by_key()
        common = [key for key in mine if key in theirs]
        return tuple(key for key in common if not _is_same(mine[key], theirs[key]))

    def as_options(self, keys: tuple[str, ...] | None = None) -> str:
        """The settings, or some of them, as they are written on a command line."""
        shown = {k: v for k, v in self.by_key().items() if keys is None or k in keys}
        return " ".join(
            f'{key} "{value}"' if isinstance(value, list) else f"{key} {value}"
            for key, value in shown.items()
        )


def is_given(cfg: CfgNode, key: str) -> bool:
    """Whether somebody chose the value of a setting of this full name."""
    # A script may have assigned it, which leaves no other trace.
    return cfg.is_given(key) or not _is_same(cfg.lookup(key), get_default_config().lookup(key))


def make_pixel_mean(cfg: CfgNode) -> tuple[float, ...]:
    """INPUT.PIXEL_MEAN, or what MODEL.CONVENTION has for it if nobody chose a value."""
    if is_given(cfg, PIXEL_MEAN):
        return tuple(cfg.INPUT.PIXEL_MEAN)
    return Convention.from_config(cfg).pixel_mean


def assign(cfg: CfgNode, key: str, value: object) -> None:
    """Set a setting by its full name, and what it entails.

    Raises:
        ConfigError: ``cfg`` is frozen.
    """
    if cfg.is_frozen():
        raise ConfigError(
            f"MODEL.WEIGHT needs {key} {value}, and the configuration is frozen: call "
            "make_settings_match_weights(cfg) before cfg.freeze()"
        )
    cfg.merge_from_list([key, value])


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(math.isclose(a, b, rel_tol=1e-6) for a, b in pairs)
    return one == other


def _numbers(values: object) -> tuple[float, ...] | None:
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        return None
    if not all(isinstance(value, (int, float)) for value in values):
        return None
    return tuple(float(value) for value in values)
