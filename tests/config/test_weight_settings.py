from dataclasses import replace

import pytest

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.config.weight_settings import WeightSettings, assign, is_given

RGB = WeightSettings(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), stride_in_1x1=False)
CAFFE2 = WeightSettings(True, (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))


# What a name begins with says nothing: the body's registration does.
@pytest.mark.parametrize("body", ["V-39-eSE-FPN-RETINANET", "R-of-my-own"])
def test_the_defaults_are_those_of_caffe2(body: str):
    cfg = get_default_config()
    cfg.MODEL.BACKBONE.CONV_BODY = body
    assert WeightSettings.from_config(cfg) == replace(CAFFE2, convention="legacy")


@pytest.mark.parametrize("body", ["R-50-C4", "R-101-FPN-RETINANET"])
def test_residual_networks_have_a_place_of_their_strides(body: str):
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", body, "MODEL.RESNETS.STRIDE_IN_1X1", False])
    assert WeightSettings.from_config(cfg).stride_in_1x1 is False


def test_keys_come_back_from_a_file():
    for settings in (RGB, CAFFE2):
        assert WeightSettings.from_keys(settings.by_key()) == settings
    assert list(RGB.by_key()) == [
        "INPUT.TO_BGR255", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        None,
        [1, 2],
        {},
        {**CAFFE2.by_key(), "INPUT.TO_BGR255": 1},
        {**CAFFE2.by_key(), "INPUT.PIXEL_MEAN": [1, 2]},
        {**CAFFE2.by_key(), "INPUT.PIXEL_STD": ["a", "b", "c"]},
        {**CAFFE2.by_key(), "INPUT.PIXEL_STD": 3},
    ],
)
def test_anything_else_in_a_file_means_nothing(content: object):
    assert WeightSettings.from_keys(content) is None


def test_what_differs_is_named():
    assert RGB.differing(RGB) == ()
    # The stride matters only where both have one.
    assert RGB.differing(CAFFE2) == ("INPUT.TO_BGR255", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD")
    other = WeightSettings(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), stride_in_1x1=True)
    assert RGB.differing(other) == ("MODEL.RESNETS.STRIDE_IN_1X1",)


def test_rounding_is_no_difference():
    rounded = WeightSettings(True, (102.98010000001, 115.9465, 122.7717), (1, 1, 1))
    assert CAFFE2.differing(rounded) == ()


def test_words_can_be_typed_on_a_command_line():
    words = RGB.as_options()
    assert words.startswith('INPUT.TO_BGR255 False INPUT.PIXEL_MEAN "[0.485, 0.456, 0.406]" ')
    assert RGB.as_options(("INPUT.TO_BGR255",)) == "INPUT.TO_BGR255 False"


def test_given_is_what_was_merged_or_assigned():
    cfg = get_default_config()
    cfg.merge_from_list(["INPUT.TO_BGR255", True])
    cfg.INPUT.PIXEL_STD = [2.0, 2.0, 2.0]
    keys = ("INPUT.TO_BGR255", "INPUT.PIXEL_STD", "INPUT.PIXEL_MEAN")
    assert [is_given(cfg, key) for key in keys] == [True, True, False]


def test_a_convention_is_assigned_with_what_goes_with_it():
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.FCOS.INFERENCE_TH", 0.03])
    assign(cfg, "MODEL.CONVENTION", "detectron2")
    assert cfg.MODEL.FCOS.INFERENCE_TH == 0.05


def test_a_frozen_tree_is_not_changed():
    cfg = get_default_config()
    assign(cfg, "INPUT.TO_BGR255", False)
    assert cfg.INPUT.TO_BGR255 is False
    cfg.freeze()
    with pytest.raises(ConfigError, match=r"INPUT\.TO_BGR255 True.*cfg\.freeze"):
        assign(cfg, "INPUT.TO_BGR255", True)
