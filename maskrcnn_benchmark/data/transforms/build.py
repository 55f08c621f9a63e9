"""From settings to transforms."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, cast

from maskrcnn_benchmark.config import CfgNode, Convention
from maskrcnn_benchmark.config.convention import RoundingRule
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.weight_settings import make_pixel_mean
from maskrcnn_benchmark.data.transforms.colors import RandomColors
from maskrcnn_benchmark.data.transforms.transforms import (
    Compose,
    Normalize,
    RandomDiagonalFlip,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    Resize,
    SideRule,
    ToPixels,
    ToTensor,
    Transform,
    resized_hw,
    resized_nearest_hw,
)
from maskrcnn_benchmark.structures.image_list import PixelNormalizer

SIDE_RULES: Final[Mapping[RoundingRule, SideRule]] = MappingProxyType(
    {"truncate": resized_hw, "nearest": resized_nearest_hw}
)


def build_transforms(cfg: CfgNode, is_train: bool = True) -> Compose:
    """The transforms that turn a photo into the model's input, as ``cfg.INPUT`` says.

    Args:
        cfg: settings; the keys under INPUT are read.
        is_train: with random sizes, flips and colours.

    Raises:
        ConfigError: a value of INPUT that makes no sense.
    """
    normalizer = build_pixel_normalizer(cfg)
    normalize = Normalize(normalizer.mean, normalizer.std, normalizer.to_bgr255)
    return Compose([*_make_changes(cfg, is_train), ToTensor(), normalize])


def build_pixel_transforms(cfg: CfgNode, is_train: bool = True) -> Compose:
    """The transforms that turn a photo into 8-bit pixels, which ``build_pixel_normalizer`` follows.

    Together they give the numbers of ``build_transforms``.

    Args:
        cfg: settings; the keys under INPUT are read.
        is_train: with random sizes, flips and colours.

    Raises:
        ConfigError: a value of INPUT that makes no sense.
    """
    return Compose([*_make_changes(cfg, is_train), ToPixels()])


class TrainingTransforms(NamedTuple):
    """What ``build_pixel_transforms`` gives for training, in two parts.

    Attributes:
        of_batch: those that do the same to all photos of a batch.
        of_photo: those that follow, drawn for each photo.
    """

    of_batch: Compose
    of_photo: Compose


def build_training_transforms(cfg: CfgNode) -> TrainingTransforms:
    """The transforms that turn a photo into 8-bit pixels to train on.

    With INPUT.SAME_SHAPE_IN_BATCH sizes and diagonal flips are those of a batch; without it all are
    drawn for each photo.

    Raises:
        ConfigError: a value of INPUT that makes no sense.
    """
    changes = _make_changes(cfg, is_train=True)
    of_batch: list[Transform] = []
    if cfg.INPUT.SAME_SHAPE_IN_BATCH:
        of_batch = [one for one in changes if isinstance(one, Resize | RandomDiagonalFlip)]
    of_photo = [one for one in changes if one not in of_batch]
    return TrainingTransforms(Compose(of_batch), Compose([*of_photo, ToPixels()]))


def build_pixel_normalizer(cfg: CfgNode) -> PixelNormalizer:
    """What turns 8-bit pixels into the model's input, as ``cfg.INPUT`` says.

    Raises:
        ConfigError: INPUT.PIXEL_MEAN or PIXEL_STD makes no sense.
    """
    settings = cfg.INPUT
    mean, std = make_pixel_mean(cfg), tuple(settings.PIXEL_STD)
    try:
        return PixelNormalizer(mean, std, settings.TO_BGR255)
    except ValueError as error:
        raise ConfigError(f"INPUT (one of PIXEL_MEAN, PIXEL_STD): {error}") from error


def make_needed_side(cfg: CfgNode, is_train: bool) -> int | None:
    """The shorter side, px, that suffices for ``build_pixel_transforms``; None: read all there is.

    Raises:
        ConfigError: a value of INPUT that makes no sense.
    """
    if cfg.INPUT.RESIZE_BACKEND == "pil":
        return None
    settings = cfg.INPUT
    if is_train:
        return max(_train_min_sizes(settings.MIN_SIZE_TRAIN, settings.MIN_SIZE_RANGE_TRAIN))
    return cast("int", settings.MIN_SIZE_TEST)


def _make_changes(cfg: CfgNode, is_train: bool) -> list[Transform]:
    """The transforms of a photo as such: size, sides, colours."""
    changes = _make_geometric(cfg, is_train)
    return [*changes, *_make_further(cfg)] if is_train else changes


def _make_further(cfg: CfgNode) -> list[Transform]:
    """Those of training that the published settings do without: none of them draws a number."""
    settings = cfg.INPUT
    flip_probs = settings.VERTICAL_FLIP_PROB_TRAIN, settings.DIAGONAL_FLIP_PROB_TRAIN
    names = ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE")
    strengths = {name.lower(): settings[name] for name in names}
    try:
        return [
            *([RandomVerticalFlip(flip_probs[0])] if flip_probs[0] else []),
            *([RandomDiagonalFlip(flip_probs[1])] if flip_probs[1] else []),
            *([RandomColors(**strengths)] if any(strengths.values()) else []),
        ]
    except ValueError as error:
        raise ConfigError(
            "INPUT (one of VERTICAL_FLIP_PROB_TRAIN, DIAGONAL_FLIP_PROB_TRAIN, "
            f"{', '.join(names)}): {error}"
        ) from error


def _make_geometric(cfg: CfgNode, is_train: bool) -> list[Transform]:
    """The transforms of image and boxes alike."""
    settings = cfg.INPUT
    min_sizes: Sequence[int] = (settings.MIN_SIZE_TEST,)
    max_size, flip_prob = settings.MAX_SIZE_TEST, 0.0
    if is_train:
        min_sizes = _train_min_sizes(settings.MIN_SIZE_TRAIN, settings.MIN_SIZE_RANGE_TRAIN)
        max_size, flip_prob = settings.MAX_SIZE_TRAIN, settings.FLIP_PROB_TRAIN
    sides = SIDE_RULES[Convention.from_config(cfg).resize]
    try:
        # UPSTREAM(flip-probability): data/transforms/build.py fixed it at 0.5 and left the key
        # INPUT.FLIP_PROB_TRAIN commented out; here the key works.
        return [
            Resize(min_sizes, max_size, settings.RESIZE_BACKEND, sides=sides),
            RandomHorizontalFlip(flip_prob),
        ]
    except ValueError as error:
        split = "TRAIN" if is_train else "TEST"
        raise ConfigError(
            f"INPUT (one of MIN_SIZE_{split}, MAX_SIZE_{split}, RESIZE_BACKEND, FLIP_PROB_TRAIN): "
            f"{error}"
        ) from error


def _train_min_sizes(choices: int | Sequence[int], bounds: Sequence[int]) -> Sequence[int]:
    """The shorter sides to draw from: every integer within bounds, if there are bounds."""
    if len(bounds) != 2:
        raise ConfigError(
            f"INPUT.MIN_SIZE_RANGE_TRAIN must be (low, high) or (-1, -1), not {tuple(bounds)}"
        )
    low, high = bounds
    if low == -1:
        return (choices,) if isinstance(choices, int) else tuple(choices)
    if not 1 <= low <= high:
        raise ConfigError(
            f"INPUT.MIN_SIZE_RANGE_TRAIN must hold 1 <= low <= high, not {tuple(bounds)}"
        )
    return range(low, high + 1)
