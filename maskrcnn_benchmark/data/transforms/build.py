"""From settings to transforms."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from maskrcnn_benchmark.config import CfgNode, Convention
from maskrcnn_benchmark.config.convention import RoundingRule
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.registry import Registry
from maskrcnn_benchmark.config.weight_settings import make_pixel_mean
from maskrcnn_benchmark.data.transforms.augmentations import AUGMENTATIONS
from maskrcnn_benchmark.data.transforms.canvas import FitToCanvas
from maskrcnn_benchmark.data.transforms.colors import RandomColors
from maskrcnn_benchmark.data.transforms.floats import ToFloats, ToImage, ToNormalized
from maskrcnn_benchmark.data.transforms.shorter_side import ResizeFloats
from maskrcnn_benchmark.data.transforms.square import ResizeToSquare
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
    resized_floor_hw,
    resized_hw,
    resized_nearest_hw,
)
from maskrcnn_benchmark.structures.image_list import PixelNormalizer

# px for a cell of the coarsest map that a pyramid has.
_COARSEST_STRIDE: Final = 128
SIDE_RULES: Final[Mapping[RoundingRule, SideRule]] = MappingProxyType(
    {"truncate": resized_hw, "nearest": resized_nearest_hw, "floor": resized_floor_hw}
)


def build_transforms(cfg: CfgNode, is_train: bool = True) -> Compose:
    """The transforms that turn a photo into the model's input, as ``cfg.INPUT`` says.

    Args:
        cfg: settings; the keys under INPUT are read.
        is_train: with random sizes, flips and colours.

    Raises:
        ConfigError: a value of INPUT that makes no sense.
    """
    normalizer, changes = build_pixel_normalizer(cfg), _make_changes(cfg, is_train)
    if RESIZE_RULES[cfg.INPUT.RESIZE_RULE].takes_floats:
        return Compose([*changes, ToNormalized(normalizer)])
    normalize = Normalize(normalizer.mean, normalizer.std, normalizer.to_bgr255)
    return Compose([*changes, ToTensor(), normalize])


def build_pixel_transforms(cfg: CfgNode, is_train: bool = True) -> Compose:
    """The transforms that turn a photo into 8-bit pixels, which ``build_pixel_normalizer`` follows.

    Together they give the numbers of ``build_transforms``. Where INPUT.RESIZE_RULE works on floats,
    these are ``build_transforms``: pixels would be rounded.

    Args:
        cfg: settings; the keys under INPUT are read.
        is_train: with random sizes, flips and colours.

    Raises:
        ConfigError: a value of INPUT that makes no sense.
    """
    if RESIZE_RULES[cfg.INPUT.RESIZE_RULE].takes_floats:
        return build_transforms(cfg, is_train)
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
    if not cfg.INPUT.SAME_SHAPE_IN_BATCH or RESIZE_RULES[cfg.INPUT.RESIZE_RULE].takes_floats:
        return TrainingTransforms(Compose([]), build_pixel_transforms(cfg))
    if cfg.INPUT.AUGMENTATIONS_TRAIN:
        raise ConfigError(
            "INPUT.SAME_SHAPE_IN_BATCH: expected False with INPUT.AUGMENTATIONS_TRAIN, which "
            "change the shape of each photo before it is resized, got True"
        )
    changes = _make_changes(cfg, is_train=True)
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
    if is_train and cfg.INPUT.AUGMENTATIONS_TRAIN:
        return None
    return RESIZE_RULES[cfg.INPUT.RESIZE_RULE].make_needed_side(cfg, is_train)


def make_size_divisor(cfg: CfgNode) -> int:
    """Height and width of a batch are multiples of this, px; 0 adds nothing to its largest photo.

    DATALOADER.SIZE_DIVISIBILITY, unless INPUT.RESIZE_RULE knows better.
    """
    return RESIZE_RULES[cfg.INPUT.RESIZE_RULE].make_divisor(cfg)


def make_needs_bitmaps(cfg: CfgNode) -> bool:
    """Whether the training transforms want masks as bitmaps of the photo's size."""
    return RESIZE_RULES[cfg.INPUT.RESIZE_RULE].takes_floats or bool(cfg.INPUT.AUGMENTATIONS_TRAIN)


class ResizeRule(NamedTuple):
    """How photos become as large as the model wants them.

    Attributes:
        make_transforms: (cfg, is_train) -> the resize, and a flip in training.
        make_needed_side: (cfg, is_train) -> as ``make_needed_side``.
        takes_floats: they take and return images of floats, which are normalised on the spot, with
            targets whose masks are bitmaps; other rules take and return PIL images.
        make_divisor: cfg -> as ``make_size_divisor``.
    """

    make_transforms: Callable[..., list[Transform]]
    make_needed_side: Callable[..., int | None]
    takes_floats: bool = False
    make_divisor: Callable[..., int] = lambda cfg: cfg.DATALOADER.SIZE_DIVISIBILITY


def _make_changes(cfg: CfgNode, is_train: bool) -> list[Transform]:
    """The transforms of a photo as such: size, sides, colours."""
    changes = _make_geometric(cfg, is_train)
    if not is_train:
        return changes
    flips, colors = _make_further(cfg)
    if RESIZE_RULES[cfg.INPUT.RESIZE_RULE].takes_floats:
        return [*colors, *changes, *flips]  # colours are changed in 8 bits
    return [*changes, *flips, *colors]


def _make_further(cfg: CfgNode) -> tuple[list[Transform], list[Transform]]:
    """Flips and colours that the published settings do without: none of them draws a number."""
    settings = cfg.INPUT
    flip_probs = settings.VERTICAL_FLIP_PROB_TRAIN, settings.DIAGONAL_FLIP_PROB_TRAIN
    names = ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE")
    strengths = {name.lower(): settings[name] for name in names}
    try:
        flips: list[Transform] = [
            *([RandomVerticalFlip(flip_probs[0])] if flip_probs[0] else []),
            *([RandomDiagonalFlip(flip_probs[1])] if flip_probs[1] else []),
        ]
        return flips, [RandomColors(**strengths)] if any(strengths.values()) else []
    except ValueError as error:
        raise ConfigError(
            "INPUT (one of VERTICAL_FLIP_PROB_TRAIN, DIAGONAL_FLIP_PROB_TRAIN, "
            f"{', '.join(names)}): {error}"
        ) from error


def _make_geometric(cfg: CfgNode, is_train: bool) -> list[Transform]:
    """The transforms of image and boxes alike, after those that the settings name."""
    rule = RESIZE_RULES[cfg.INPUT.RESIZE_RULE]
    names = cfg.INPUT.AUGMENTATIONS_TRAIN if is_train else ()
    transforms: list[Transform] = [AUGMENTATIONS[name](cfg) for name in names]
    if transforms or rule.takes_floats:
        transforms.insert(0, ToFloats(with_bitmaps=is_train))
    if transforms and not rule.takes_floats:
        transforms.append(ToImage())
    try:
        return [*transforms, *rule.make_transforms(cfg, is_train)]
    except ConfigError:
        raise
    except ValueError as error:
        split = "TRAIN" if is_train else "TEST"
        raise ConfigError(
            f"INPUT (one of MIN_SIZE_{split}, MAX_SIZE_{split}, RESIZE_BACKEND, FLIP_PROB_TRAIN): "
            f"{error}"
        ) from error


def _make_resize(cfg: CfgNode, is_train: bool) -> list[Transform]:
    settings = cfg.INPUT
    max_size = settings.MAX_SIZE_TRAIN if is_train else settings.MAX_SIZE_TEST
    rounding = SIDE_RULES[Convention.from_config(cfg).resize]
    resize = Resize(_make_sides(cfg, is_train), max_size, settings.RESIZE_BACKEND, sides=rounding)
    return [resize, _make_flip(cfg, is_train)]


def _make_resize_floats(cfg: CfgNode, is_train: bool) -> list[Transform]:
    max_size = cfg.INPUT.MAX_SIZE_TRAIN if is_train else cfg.INPUT.MAX_SIZE_TEST
    rounding = SIDE_RULES[Convention.from_config(cfg).resize]
    resize = ResizeFloats(_make_sides(cfg, is_train), max_size, rounding)
    return [_make_flip(cfg, is_train), resize]


def _make_square(cfg: CfgNode, is_train: bool) -> list[Transform]:
    # In training, too: the photos of a batch are not to be padded.
    return [_make_flip(cfg, is_train), ResizeToSquare(cfg.INPUT.MIN_SIZE_TEST)]


def _make_canvas(cfg: CfgNode, is_train: bool) -> list[Transform]:
    settings = cfg.INPUT
    scales = settings.CANVAS_SCALES_TRAIN if is_train else (1.0, 1.0)
    if len(scales) != 2 or not 0 < scales[0] <= scales[1]:
        raise ConfigError(
            f"INPUT.CANVAS_SCALES_TRAIN: expected (lowest, highest) above 0, got {tuple(scales)}"
        )
    if settings.MIN_SIZE_TEST < 1:
        raise ConfigError(
            f"INPUT.MIN_SIZE_TEST: expected at least 1 px, got {settings.MIN_SIZE_TEST}"
        )
    return [_make_flip(cfg, is_train), FitToCanvas(settings.MIN_SIZE_TEST, tuple(scales))]


def _make_canvas_divisor(cfg: CfgNode) -> int:
    # Photos that fill the canvas in one direction alone are padded to all of it.
    side: int = cfg.INPUT.MIN_SIZE_TEST
    return -(-side // _COARSEST_STRIDE) * _COARSEST_STRIDE


def _make_flip(cfg: CfgNode, is_train: bool) -> RandomHorizontalFlip:
    # UPSTREAM(flip-probability): data/transforms/build.py fixed it at 0.5 and left the key
    # INPUT.FLIP_PROB_TRAIN commented out; here the key works.
    return RandomHorizontalFlip(cfg.INPUT.FLIP_PROB_TRAIN if is_train else 0.0)


def _make_shorter_side(cfg: CfgNode, is_train: bool) -> int | None:
    return None if cfg.INPUT.RESIZE_BACKEND == "pil" else max(_make_sides(cfg, is_train))


RESIZE_RULES: Final = Registry[ResizeRule](
    "rule (INPUT.RESIZE_RULE)",
    {
        "canvas": ResizeRule(
            _make_canvas,
            lambda _cfg, _is_train: None,
            takes_floats=True,
            make_divisor=_make_canvas_divisor,
        ),
        "shorter_side": ResizeRule(_make_resize, _make_shorter_side),
        "shorter_side_floats": ResizeRule(
            _make_resize_floats, lambda _cfg, _is_train: None, takes_floats=True
        ),
        "square": ResizeRule(_make_square, lambda _cfg, _is_train: None, takes_floats=True),
    },
)
"""By the names of INPUT.RESIZE_RULE."""


def _make_sides(cfg: CfgNode, is_train: bool) -> Sequence[int]:
    settings = cfg.INPUT
    if is_train:
        return _train_min_sizes(settings.MIN_SIZE_TRAIN, settings.MIN_SIZE_RANGE_TRAIN)
    return (settings.MIN_SIZE_TEST,)


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
