"""The maps of a backbone, and that the settings which repeat their strides agree with them."""

from collections.abc import Sequence
from typing import NamedTuple

from maskrcnn_benchmark.config.errors import ConfigError


class Level(NamedTuple):
    """One map of a backbone.

    Attributes:
        channels: of the map.
        stride: px of the image per cell.
    """

    channels: int
    stride: int


def check_strides(key: str, strides: Sequence[int], levels: Sequence[Level] | None) -> None:
    """Raise ConfigError unless the strides are those of the maps.

    Args:
        key: full name of the setting with the strides.
        strides: px per cell of each map, finest first.
        levels: the maps, finest first; None if the backbone does not say.
    """
    expected = tuple(level.stride for level in levels or ())
    if levels is not None and tuple(strides) != expected:
        raise ConfigError(
            f"{key}: expected {expected}, the strides of the backbone's maps, got {tuple(strides)}"
        )


def check_scales(key: str, scales: Sequence[float], levels: Sequence[Level] | None) -> None:
    """Raise ConfigError unless the scales are 1 / stride of the finest maps, or of all of them.

    Args:
        key: full name of the setting with the scales.
        scales: size of each map relative to the image, finest first.
        levels: the maps, finest first; None if the backbone does not say.
    """
    expected = tuple(1 / level.stride for level in levels or ())
    if levels is not None and tuple(scales) != expected[: len(scales)]:
        raise ConfigError(
            f"{key}: expected {expected} or the first of them, 1 / stride of the backbone's maps, "
            f"got {tuple(scales)}"
        )
