"""build_transforms: which settings reach which transform."""

import random

import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.data.transforms import (
    RandomDiagonalFlip,
    RandomVerticalFlip,
    build_pixel_normalizer,
    build_pixel_transforms,
    build_training_transforms,
    build_transforms,
)


def stages(is_train, *options):
    cfg = get_default_config()
    cfg.merge_from_list(list(options))
    return build_transforms(cfg, is_train).transforms


def test_one_size_may_stand_alone():
    """Old scripts write INPUT.MIN_SIZE_TRAIN 640, or assign it."""
    resize, *_ = stages(True, "INPUT.MIN_SIZE_TRAIN", 640)
    assert resize.min_size == (640,)
    cfg = get_default_config()
    cfg.INPUT.MIN_SIZE_TRAIN = 640
    assert build_transforms(cfg).transforms[0].min_size == (640,)


def test_defaults_are_those_of_the_original():
    resize, flip, _, normalize = stages(True)
    assert (resize.min_size, resize.max_size) == ((800,), 1333)
    assert flip.prob == 0.5
    assert normalize.mean == (102.9801, 115.9465, 122.7717)
    assert normalize.std == (1.0, 1.0, 1.0)
    assert normalize.to_bgr255 is True


def test_evaluation_never_flips_and_has_its_own_sizes():
    resize, flip, _, _ = stages(
        False, "INPUT.MIN_SIZE_TEST", 320, "INPUT.MAX_SIZE_TEST", 544, "INPUT.MIN_SIZE_TRAIN", (9,)
    )
    assert (resize.min_size, resize.max_size) == ((320,), 544)
    assert flip.prob == 0.0


def test_training_draws_from_the_listed_sizes():
    resize, *_ = stages(True, "INPUT.MIN_SIZE_TRAIN", (640, 672), "INPUT.MAX_SIZE_TRAIN", 1000)
    assert (resize.min_size, resize.max_size) == ((640, 672), 1000)


def test_a_range_means_every_integer_in_it_and_wins_over_the_list():
    resize, *_ = stages(True, "INPUT.MIN_SIZE_RANGE_TRAIN", (580, 600))
    assert resize.min_size == tuple(range(580, 601))


def test_flip_probability_is_read():
    """upstream: flip-probability. The original ignored INPUT.FLIP_PROB_TRAIN."""
    assert stages(True, "INPUT.FLIP_PROB_TRAIN", 0.0)[1].prob == 0.0


@pytest.mark.parametrize("backend", ["pil", "fast"])
@pytest.mark.parametrize("to_bgr255", [False, True])
def test_both_ways_to_the_input_have_the_same_bits(backend, to_bgr255):
    cfg = get_default_config()
    cfg.merge_from_list(["INPUT.RESIZE_BACKEND", backend, "INPUT.TO_BGR255", to_bgr255])
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (20, 30), "INPUT.PIXEL_STD", [3.0, 2.0, 1.0]])
    photo = Image.effect_noise((24, 18), 90).convert("RGB")
    for seed in range(4):
        expected, _ = build_transforms(cfg)(photo, None, random.Random(seed))
        pixels, _ = build_pixel_transforms(cfg)(photo, None, random.Random(seed))
        normalized = build_pixel_normalizer(cfg)(pixels[None], [tuple(pixels.shape[1:])])
        assert torch.equal(normalized[0], expected)


def test_the_way_to_resize_is_read():
    assert stages(True)[0].backend == "pil"
    assert stages(False, "INPUT.RESIZE_BACKEND", "fast")[0].backend == "fast"
    with pytest.raises(ConfigError, match=r"INPUT.*RESIZE_BACKEND.*'pil', 'fast'.*not 'quick'"):
        stages(True, "INPUT.RESIZE_BACKEND", "quick")


def test_rgb_input():
    *_, normalize = stages(True, "INPUT.TO_BGR255", False)
    assert normalize.to_bgr255 is False


@pytest.mark.parametrize("bounds", [(600, 580), (0, 10), (-2, 5)])
def test_an_impossible_range_names_its_key(bounds):
    with pytest.raises(ConfigError, match=r"INPUT\.MIN_SIZE_RANGE_TRAIN"):
        stages(True, "INPUT.MIN_SIZE_RANGE_TRAIN", bounds)


@pytest.mark.parametrize(
    ("key", "value"),
    [("FLIP_PROB_TRAIN", 2.0), ("MAX_SIZE_TRAIN", 0), ("PIXEL_STD", [1.0, 0.0, 1.0])],
)
def test_an_impossible_value_names_its_key_and_itself(key, value):
    with pytest.raises(ConfigError, match=rf"(?s){key}.*not .*{value}".replace("[", r"\[")):
        stages(True, f"INPUT.{key}", value)


def test_what_the_original_did_without_is_there_only_if_asked_for():
    options = [
        *("INPUT.VERTICAL_FLIP_PROB_TRAIN", 0.25, "INPUT.DIAGONAL_FLIP_PROB_TRAIN", 0.75),
        *("INPUT.SATURATION", 0.5, "INPUT.HUE", 0.1),
    ]
    _, _, vertical, diagonal, colours, *_ = stages(True, *options)
    assert (type(vertical), vertical.prob) == (RandomVerticalFlip, 0.25)
    assert (type(diagonal), diagonal.prob) == (RandomDiagonalFlip, 0.75)
    assert (colours.brightness, colours.contrast) == (0, 0)
    assert (colours.saturation, colours.hue) == (0.5, 0.1)
    assert len(stages(False, *options)) == len(stages(True)) == 4


@pytest.mark.parametrize("key", ["VERTICAL_FLIP_PROB_TRAIN", "DIAGONAL_FLIP_PROB_TRAIN", "HUE"])
def test_further_changes_that_make_no_sense(key):
    with pytest.raises(ConfigError, match=key):
        stages(True, f"INPUT.{key}", 1.5)


def test_the_shape_may_be_that_of_the_batch():
    def kinds(*options):
        cfg = get_default_config()
        cfg.merge_from_list(["INPUT.DIAGONAL_FLIP_PROB_TRAIN", 0.5, *options])
        return [
            [type(one).__name__ for one in part.transforms]
            for part in build_training_transforms(cfg)
        ]

    flips = "RandomHorizontalFlip", "RandomDiagonalFlip"
    assert kinds() == [[], ["Resize", *flips, "ToPixels"]]
    of_batch, of_photo = kinds("INPUT.SAME_SHAPE_IN_BATCH", True)
    assert of_batch == ["Resize", "RandomDiagonalFlip"]
    assert of_photo == ["RandomHorizontalFlip", "ToPixels"]
