import pytest

from maskrcnn_benchmark.config import ConfigError, Convention, get_default_config
from maskrcnn_benchmark.config.convention import CONVENTIONS, DETECTRON2, LEGACY
from maskrcnn_benchmark.config.weight_settings import PIXEL_MEAN, make_pixel_mean


def make_config(*options: object):
    cfg = get_default_config()
    cfg.merge_from_list(list(options))
    return cfg


def test_the_defaults_are_those_of_the_original():
    assert Convention.from_config(get_default_config()) == LEGACY == Convention()


def test_a_convention_goes_by_its_name():
    assert Convention.from_config(make_config("MODEL.CONVENTION", "detectron2")) == DETECTRON2
    with pytest.raises(ConfigError, match="unknown convention"):
        Convention.from_config(make_config("MODEL.CONVENTION", "caffe"))


def test_no_rule_is_the_same_in_both():
    for rules in ("fcos", "roi"):
        one, other = (getattr(convention, rules) for convention in (LEGACY, DETECTRON2))
        assert all(getattr(one, name) != getattr(other, name) for name in type(one).__slots__)
    names = Convention.__slots__
    assert all(getattr(LEGACY, name) != getattr(DETECTRON2, name) for name in names)
    assert set(CONVENTIONS) >= {"legacy", "detectron2"}


def test_the_mean_is_that_of_the_convention_unless_somebody_chose_one():
    assert make_pixel_mean(make_config()) == (102.9801, 115.9465, 122.7717)
    assert make_pixel_mean(make_config("MODEL.CONVENTION", "detectron2")) == DETECTRON2.pixel_mean
    given = make_config("MODEL.CONVENTION", "detectron2", PIXEL_MEAN, [1.0, 2.0, 3.0])
    assert make_pixel_mean(given) == (1.0, 2.0, 3.0)
