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


RATIO, THRESHOLD = "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO", "MODEL.FCOS.INFERENCE_TH"


def test_what_goes_with_a_convention_is_set_with_it(tmp_path):
    cfg = get_default_config()
    cfg.merge_from_file("configs/centermask/centermask_V_39_eSE_FPN_ms_3x.yaml")
    assert [cfg.lookup(key) for key in (RATIO, THRESHOLD)] == [2, 0.03]
    cfg.merge_from_list(["MODEL.CONVENTION", "detectron2"])
    assert [cfg.lookup(key) for key in (RATIO, THRESHOLD)] == [0, 0.05]
    # What is said later counts, also where the convention is said once more.
    cfg.merge_from_list(["MODEL.CONVENTION", "detectron2", THRESHOLD, 0.2])
    cfg.merge_from_list(["MODEL.CONVENTION", "detectron2"])
    assert cfg.lookup(THRESHOLD) == 0.2
    again = get_default_config()
    again.merge_from_other_cfg(cfg)
    assert again.lookup(THRESHOLD) == 0.2
    path = tmp_path / "mine.yaml"
    path.write_text(
        "_BASE_: mine_base.yaml\nMODEL:\n  FCOS: {INFERENCE_TH: 0.1}\n  CONVENTION: detectron2\n"
    )
    (tmp_path / "mine_base.yaml").write_text(
        "MODEL:\n  ROI_MASK_HEAD: {POOLER_SAMPLING_RATIO: 2}\n"
    )
    cfg = get_default_config()
    cfg.merge_from_file(path)
    assert [cfg.lookup(key) for key in (RATIO, THRESHOLD)] == [0, 0.1]


def test_no_rule_is_the_same_in_all():
    others = [CONVENTIONS[name] for name in ("detectron2", "torchvision")]
    pairs = [
        (LEGACY, others),
        (LEGACY.grid, [other.grid for other in others]),
        (LEGACY.fcos, [other.fcos for other in others]),
        (LEGACY.roi, [other.roi for other in others]),
        (LEGACY.two_stage, [other.two_stage for other in others]),
    ]
    for legacy, rivals in pairs:
        for name in type(legacy).__slots__:
            assert any(getattr(rival, name) != getattr(legacy, name) for rival in rivals), name


def test_the_mean_is_that_of_the_convention_unless_somebody_chose_one():
    assert make_pixel_mean(make_config()) == (102.9801, 115.9465, 122.7717)
    assert make_pixel_mean(make_config("MODEL.CONVENTION", "detectron2")) == DETECTRON2.pixel_mean
    given = make_config("MODEL.CONVENTION", "detectron2", PIXEL_MEAN, [1.0, 2.0, 3.0])
    assert make_pixel_mean(given) == (1.0, 2.0, 3.0)
