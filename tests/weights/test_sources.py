import logging
import re
from pathlib import Path

import pytest
import torch

from maskrcnn_benchmark.config import CfgNode, ConfigError, get_default_config
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights.sources import (
    SETTINGS_ENTRY,
    check_settings,
    find_weight_source,
    make_settings_match_weights,
)
from tests.contract.source_tree import ROOT

CATALOG = get_default_config().PATHS_CATALOG
RGB = WeightSettings(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), stride_in_1x1=False)
RGB_KEYS = (
    "INPUT.TO_BGR255", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1",
)  # fmt: skip
RESNET = "configs/centermask/centermask_R_50_FPN_1x.yaml"


def _config(weight: str, *options: object, file: str = RESNET) -> CfgNode:
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / file)
    cfg.merge_from_list(["MODEL.WEIGHT", weight, *options])
    return cfg


def _values(cfg: CfgNode) -> dict[str, object]:
    return {key: value for key, value in cfg.leaves() if key in RGB_KEYS}


def test_the_settings_of_torchvision_are_set_and_told(caplog):
    cfg = _config("catalog://torchvision/resnet50")
    with caplog.at_level(logging.INFO):
        assert make_settings_match_weights(cfg) == RGB_KEYS
    assert _values(cfg) == RGB.by_key()
    assert WeightSettings.from_config(cfg).differing(RGB) == ()
    assert f"catalog://torchvision/resnet50: set {RGB.as_options()}" in caplog.messages
    assert make_settings_match_weights(cfg) == ()


def test_settings_that_fit_already_may_be_given():
    given = [part for key, value in RGB.by_key().items() for part in (key, value)]
    cfg = _config("catalog://torchvision/resnet50.IMAGENET1K_V2", *given)
    assert make_settings_match_weights(cfg) == ()


@pytest.mark.parametrize(
    ("key", "value"), [("INPUT.TO_BGR255", True), ("INPUT.PIXEL_STD", [1.0, 1.0, 1.0])]
)
def test_given_settings_that_torchvision_contradicts_are_an_error(key: str, value: object):
    """Even if they are the defaults."""
    cfg = _config("catalog://torchvision/resnet50", key, value)
    with pytest.raises(ConfigError, match=rf"torchvision/resnet50 .*{key} "):
        make_settings_match_weights(cfg)
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is True


def test_a_body_without_strides_of_that_kind_keeps_the_setting():
    mobilenet = "configs/centermask/centermask_M_v2_FPN_1x.yaml"
    cfg = _config("catalog://torchvision/mobilenet_v2", file=mobilenet)
    assert make_settings_match_weights(cfg) == RGB_KEYS[:3]
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is True


def test_a_frozen_tree_that_would_have_to_change_is_an_error():
    cfg = _config("catalog://torchvision/resnet50")
    cfg.freeze()
    with pytest.raises(ConfigError, match="frozen"):
        make_settings_match_weights(cfg)


def _shipped(libraries: bool) -> list[object]:
    """The shipped configurations whose weights are, or are not, those of a library."""
    paths = sorted((ROOT / "configs").rglob("*.yaml"))
    return [
        pytest.param(path, id=str(path.relative_to(ROOT / "configs")))
        for path in paths
        if bool(re.search("catalog://(timm|torchvision)/", path.read_text())) is libraries
    ]


@pytest.mark.parametrize("path", _shipped(libraries=False))
def test_shipped_configurations_fit_their_weights_as_they_are(path: Path, caplog):
    cfg = get_default_config()
    cfg.merge_from_file(path)
    assert make_settings_match_weights(cfg) == ()
    source = find_weight_source(cfg.MODEL.WEIGHT, CATALOG)
    assert source.settings is not None or not cfg.MODEL.WEIGHT.startswith("catalog://")
    check_settings(source, WeightSettings.from_config(cfg))
    assert caplog.messages == []


@pytest.mark.slow
@pytest.mark.parametrize("path", _shipped(libraries=True))
def test_shipped_configurations_can_be_made_to_fit_the_weights_of_a_library(path: Path):
    cfg = get_default_config()
    cfg.merge_from_file(path)
    # torchvision's own rules bring its images along.
    is_fit = cfg.MODEL.CONVENTION == "torchvision"
    assert make_settings_match_weights(cfg) == (() if is_fit else RGB_KEYS[:3])
    source = find_weight_source(cfg.MODEL.WEIGHT, CATALOG)
    check_settings(source, WeightSettings.from_config(cfg))


def test_the_quickstart_weights_set_what_nobody_gave():
    weight = "catalog://quickstart/mobilenet_v2"
    cfg = _config(weight, "INPUT.PIXEL_STD", [100.0, 100.0, 100.0])
    assert make_settings_match_weights(cfg) == ("INPUT.PIXEL_MEAN",)
    assert cfg.INPUT.PIXEL_MEAN == [127.5, 127.5, 127.5]


def test_a_checkpoint_sets_what_it_records(tmp_path: Path):
    path = tmp_path / "model_final.pth"
    torch.save({"model": {"w": torch.ones(1)}, SETTINGS_ENTRY: RGB.by_key()}, path)
    cfg = _config(str(path))
    assert make_settings_match_weights(cfg) == RGB_KEYS
    assert WeightSettings.from_config(cfg).differing(RGB) == ()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no archive", "old", "bare"])
def test_files_that_record_nothing_change_nothing(content, tmp_path: Path):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "old":
        torch.save({SETTINGS_ENTRY: RGB.by_key()}, path, _use_new_zipfile_serialization=False)
    elif content == "bare":
        torch.save([torch.ones(1)], path)
    assert find_weight_source(str(path), CATALOG).settings is None
    assert make_settings_match_weights(_config(str(path))) == ()


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("ImageNetPretrained/MSRA/R-50", True),
        ("ImageNetPretrained/MSRA/R-101-GN", False),
        ("ImageNetPretrained/FAIR/20171220/X-101-32x8d", False),
        ("ImageNetPretrained/FAIR/20171220/X-101-64x4d", False),
        ("Caffe2Detectron/COCO/35858933/e2e_mask_rcnn_R-50-FPN_1x", True),
        ("Caffe2Detectron/COCO/36761843/e2e_mask_rcnn_X-101-32x8d-FPN_1x", False),
    ],
)
def test_caffe2s_weights_have_its_images_and_their_strides(name: str, stride: bool, caplog):
    source = find_weight_source(f"catalog://{name}", CATALOG)
    assert source.settings == WeightSettings(
        True, (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), stride
    )
    # Users of the original have settings of their own with them, which stay.
    cfg = _config(f"catalog://{name}", "INPUT.PIXEL_STD", [57.0, 57.0, 57.0])
    assert make_settings_match_weights(cfg) == ()
    check_settings(source, WeightSettings.from_config(cfg))
    assert "was trained with INPUT.PIXEL_STD" in caplog.messages[0]


def test_a_users_catalog_of_old_needs_no_settings(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("class ModelCatalog:\n    get = staticmethod(lambda name: '/w/' + name)\n")
    source = find_weight_source("catalog://x", str(path))
    assert (source.address, source.settings) == ("/w/x", None)
    library = find_weight_source("catalog://torchvision/resnet50", str(path))
    assert (library.address, library.settings) == ("torchvision://resnet50", RGB)


@pytest.mark.parametrize(("strict", "authority"), [(True, "may"), (False, "must")])
def test_what_must_fit_is_an_error(strict: bool, authority):
    source = find_weight_source("catalog://ImageNetPretrained/MSRA/R-50", CATALOG)
    object.__setattr__(source, "authority", authority)
    with pytest.raises(ConfigError, match=r"INPUT\.TO_BGR255 True.*INPUT\.TO_BGR255 False"):
        check_settings(source, RGB, strict=strict)


@pytest.mark.parametrize("is_url", [False, True])
def test_names_of_tensors_tell_what_a_file_needs(is_url: bool, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CENTERMASK_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "resnet.pth"
    names = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight")
    torch.save({name: torch.ones(1) for name in names}, path)
    cfg = _config(path.as_uri() if is_url else str(path))
    assert make_settings_match_weights(cfg) == ()
    assert make_settings_match_weights(cfg, by_names=True) == RGB_KEYS
    assert _values(cfg) == RGB.by_key()
