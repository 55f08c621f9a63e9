"""Numbers of the recipes, worked out by hand."""

import pytest

from maskrcnn_benchmark.config.shipped import find_model
from maskrcnn_benchmark.engine.recipes import (
    PUBLISHED,
    SMALL,
    Circumstances,
    TrainingData,
    make_recipe,
)
from maskrcnn_benchmark.engine.settings import load_settings


def recipe(name, num_photos, circumstances=None, opts=(), model="centermask-lite-mv2"):
    base, given = load_settings(find_model(model).path), load_settings(opts=opts)
    data = TrainingData(num_photos, 3, True)
    return make_recipe(name, base, given, data, circumstances or Circumstances())


def test_few_photos_get_the_small_one():
    assert TrainingData(4999, 2, True).recipe == SMALL
    assert TrainingData(5000, 2, True).recipe == PUBLISHED


@pytest.mark.parametrize(
    ("num_photos", "epochs", "steps"), [(88, None, 594), (10, None, 400), (10, 3, 8), (1, 1, 1)]
)
def test_steps_follow_from_photos_and_epochs(num_photos, epochs, steps):
    assert recipe(SMALL, num_photos, Circumstances(epochs=epochs))["SOLVER.MAX_ITER"] == steps


def test_a_batch_is_no_larger_than_the_data_and_divides_among_processes():
    assert recipe(SMALL, 2)["SOLVER.IMS_PER_BATCH"] == 2
    assert recipe(SMALL, 50, Circumstances(num_processes=3))["SOLVER.IMS_PER_BATCH"] == 3
    assert recipe(SMALL, 50, Circumstances(num_processes=8))["SOLVER.IMS_PER_BATCH"] == 8


def test_adams_rate_goes_with_the_root_of_the_batch():
    made = recipe(SMALL, 100, opts=["SOLVER.IMS_PER_BATCH", 16])
    assert made["SOLVER.BASE_LR"] == pytest.approx(0.002)
    assert "SOLVER.IMS_PER_BATCH" not in made
    assert made["SOLVER.MAX_ITER"] == 400


def test_the_published_schedule_is_scaled_to_photos_and_batch():
    """Of 360 000 steps of 16 images with a rate of 0.01, falling at 300 000 and 340 000."""
    made = recipe(PUBLISHED, 117_266, opts=["SOLVER.IMS_PER_BATCH", 8])
    assert made["SOLVER.MAX_ITER"] == 720_000
    assert made["SOLVER.STEPS"] == (600_000, 680_000)
    assert made["SOLVER.BASE_LR"] == pytest.approx(0.005)
    short = recipe(PUBLISHED, 8000, Circumstances(epochs=12))
    assert short["SOLVER.MAX_ITER"] == 6000
    assert short["SOLVER.STEPS"] == (5000, 5667)
    assert short["SOLVER.BASE_LR"] == pytest.approx(0.01)


def test_nothing_that_was_given_is_chosen():
    opts = ["SOLVER.MAX_ITER", 100, "SOLVER.STEPS", (50,), "MODEL.WEIGHT", ""]
    for name in (SMALL, PUBLISHED):
        made = recipe(name, 50, Circumstances(weights="catalog://x"), opts)
        assert not made.keys() & set(opts[::2])
        assert made["SOLVER.WARMUP_ITERS"] == 10


def test_few_photos_start_with_mask_heads_that_can_learn():
    made = recipe(SMALL, 50)
    for key in ("LOGITS_INIT_STD", "ATTENTION_INIT_STD"):
        assert 0 < made[f"MODEL.ROI_MASK_HEAD.{key}"] < 0.1
        assert f"MODEL.ROI_MASK_HEAD.{key}" not in recipe(PUBLISHED, 50)


def test_few_photos_change_their_light_unless_they_are_changed_otherwise():
    assert recipe(SMALL, 50)["INPUT.CONTRAST"] > 0
    assert "INPUT.CONTRAST" not in recipe(PUBLISHED, 50)
    for made in (
        recipe(SMALL, 50, opts=["INPUT.AUGMENTATIONS_TRAIN", ("expand",)]),
        recipe(SMALL, 50, model="yolact-r50"),
    ):
        assert not made.keys() & {"INPUT.CONTRAST", "INPUT.SAME_SHAPE_IN_BATCH"}


def test_the_best_is_kept_where_there_is_something_to_validate_on():
    for name in (SMALL, PUBLISHED):
        assert recipe(name, 50)["SOLVER.KEEP_BEST"] is True
        without = recipe(name, 50, Circumstances(has_validation=False))
        assert (without["SOLVER.KEEP_BEST"], without["SOLVER.TEST_PERIOD"]) == (False, 0)


def test_every_key_is_a_setting():
    for name in (SMALL, PUBLISHED):
        settings = load_settings()
        made = recipe(name, 50)
        settings.merge_from_list([part for item in made.items() for part in item])
        assert all(settings.lookup(key) == value for key, value in made.items())


def test_statistics_of_norms_forget_the_start_within_a_short_training():
    published = {"model": "shapemask-r50", "num_photos": 20}
    short = recipe(SMALL, opts=("SOLVER.MAX_ITER", 100), **published)
    assert short["MODEL.BATCH_NORM.MOMENTUM"] == 0.1
    longer = recipe(SMALL, opts=("SOLVER.MAX_ITER", 4000), **published)
    assert longer["MODEL.BATCH_NORM.MOMENTUM"] == 0.005
    long = recipe(SMALL, 20, opts=("SOLVER.MAX_ITER", 10**6), model="shapemask-r50")
    for other in (long, recipe(SMALL, 20)):
        assert "MODEL.BATCH_NORM.MOMENTUM" not in other
