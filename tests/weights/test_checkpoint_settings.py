"""Settings that weights depend on without showing it: recorded, compared, taken from libraries."""

import logging
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from maskrcnn_benchmark.config import CfgNode, ConfigError, get_default_config
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.modeling.backbone.mobilenet import MobileNetV2
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.sources import make_settings_match_weights
from tests.weights.library_caches import fill_torchvision

TORCHVISION = "catalog://torchvision/mobilenet_v2"


def _config(*options: object) -> CfgNode:
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", "MNV2-FPN-RETINANET", *options])
    return cfg


def _checkpointer(folder: Path | str, *options: object) -> DetectronCheckpointer:
    return DetectronCheckpointer(_config(*options), nn.Linear(2, 2), save_dir=folder)


def test_a_checkpoint_records_its_settings_and_load_keeps_them_to_itself(tmp_path: Path):
    _checkpointer(tmp_path, "INPUT.TO_BGR255", False).save("w", iteration=3)
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    recorded = WeightSettings.from_keys(content["settings"])
    assert recorded == WeightSettings.from_config(_config("INPUT.TO_BGR255", False))
    assert _checkpointer(tmp_path, "INPUT.TO_BGR255", False).load() == {"iteration": 3}


def test_resuming_or_evaluating_with_others_is_an_error(tmp_path: Path):
    _checkpointer(tmp_path).save("w")
    other = ("INPUT.PIXEL_STD", [2.0, 2.0, 2.0])
    message = r"w\.pth was trained with INPUT.PIXEL_STD \"\[1.0, 1.0, 1.0\]\"; .*\[2.0, 2.0, 2.0\]"
    with pytest.raises(ConfigError, match=message):
        _checkpointer(tmp_path, *other).load()
    with pytest.raises(ConfigError, match=message):
        _checkpointer("", *other).load(tmp_path / "w.pth", strict=True)


def test_starting_from_them_with_others_is_a_warning(tmp_path: Path, caplog):
    _checkpointer(tmp_path).save("w")
    assert _checkpointer("", "INPUT.TO_BGR255", False).load(tmp_path / "w.pth") == {}
    assert "was trained with INPUT.TO_BGR255 True; the settings say" in caplog.text


def test_files_of_the_original_record_nothing(tmp_path: Path, caplog):
    path = tmp_path / "w.pth"
    torch.save({"model": nn.Linear(2, 2).state_dict()}, path)
    _checkpointer("", "INPUT.TO_BGR255", False).load(path, strict=True)
    assert "trained with" not in caplog.text


@pytest.fixture
def torchvision_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Random weights where torchvision keeps those that it has downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(weights=None).eval()
    fill_torchvision(tmp_path / "cache", "mobilenet_v2", "IMAGENET1K_V1", model.state_dict())
    return model


@torch.no_grad()
def test_a_training_starts_from_torchvision_with_its_settings(torchvision_weights, caplog):
    body = MobileNetV2()
    detector = nn.ModuleDict({"backbone": nn.ModuleDict({"body": body})})
    cfg = _config("MODEL.WEIGHT", TORCHVISION)
    make_settings_match_weights(cfg)
    checkpointer = DetectronCheckpointer(cfg, detector)
    with caplog.at_level(logging.INFO):
        assert checkpointer.load(cfg.MODEL.WEIGHT) == {}
    assert checkpointer.last_report.is_exact
    assert f"from {TORCHVISION} (an ImageNet MobileNetV2" in caplog.text
    x = torch.randn(1, 3, 64, 64)
    expected = torchvision_weights.features[:18](x)
    torch.testing.assert_close(body(x)[-1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("torchvision_weights")
def test_a_script_that_forgot_the_settings_is_told():
    checkpointer = DetectronCheckpointer(_config(), nn.ModuleDict({"body": MobileNetV2()}))
    with pytest.raises(ConfigError, match=r"torchvision/mobilenet_v2 .*INPUT\.TO_BGR255"):
        checkpointer.load(TORCHVISION)


def test_a_bare_file_with_torchvisions_names_is_a_reason_to_warn(tmp_path: Path, caplog):
    path = tmp_path / "w.pth"
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), path)
    checkpointer = DetectronCheckpointer(_config(), nn.ModuleDict({"body": MobileNetV2()}))
    checkpointer.load(path)
    assert "w.pth was trained with INPUT.TO_BGR255 False" in caplog.text
