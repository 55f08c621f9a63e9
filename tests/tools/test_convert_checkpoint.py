import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from maskrcnn_benchmark.config import CfgNode, ConfigError, get_default_config
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.description import Category, read_description
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.sources import make_settings_match_weights
from tests.contract.source_tree import ROOT

TOOL = runpy.run_path(str(ROOT / "tools" / "convert_checkpoint.py"))
CONFIG = str(ROOT / "configs" / "centermask" / "centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml")
RGB = WeightSettings(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _config(weight: Path) -> CfgNode:
    cfg = get_default_config()
    cfg.merge_from_file(CONFIG)
    cfg.merge_from_list(["MODEL.WEIGHT", str(weight), "MODEL.DEVICE", "cpu"])
    return cfg


@pytest.fixture
def torchvision_file(tmp_path: Path) -> Path:
    path = tmp_path / "mobilenet_v2-b0353104.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), path)
    return path


def _convert(*arguments: object) -> None:
    TOOL["main"](["--config-file", CONFIG, *map(str, arguments)])


def test_a_backbone_of_torchvision_becomes_a_checkpoint_with_its_settings(
    torchvision_file: Path, tmp_path: Path, capsys
):
    target = tmp_path / "converted.pth"
    _convert(torchvision_file, target)
    log = capsys.readouterr()
    assert "Loaded 255 of the model's" in log.out + log.err
    assert "wrote 255 tensors, a part of the model" in log.out + log.err
    assert "WARNING" not in log.out + log.err
    content = torch.load(target, weights_only=True)
    assert content.keys() == {"model", "settings"}
    assert all(name.startswith("backbone.body.features.") for name in content["model"])
    # So is what the norms add to a variance, which differs between conventions.
    assert WeightSettings.from_keys(content["settings"]) == replace(RGB, convention="legacy")
    # The epsilon of training is in it already, and is not added again.
    cfg = _config(target)
    assert len(make_settings_match_weights(cfg)) == 3
    model, direct = build_detection_model(cfg), build_detection_model(cfg)
    checkpointer = DetectronCheckpointer(cfg, model)
    checkpointer.load(target)
    assert checkpointer.last_report.missing == () == checkpointer.last_report.unexpected
    assert all(n.startswith(("backbone.fpn.", "rpn.", "roi_heads.")) for n in
               checkpointer.last_report.outside)  # fmt: skip
    DetectronCheckpointer(cfg, direct).load(torchvision_file)
    for name, value in model.backbone.body.state_dict().items():
        torch.testing.assert_close(value, direct.backbone.body.state_dict()[name], rtol=0, atol=0)


def test_a_whole_model_of_the_original_stays_itself(tmp_path: Path, capsys):
    model = build_detection_model(_config(tmp_path))
    source, target = tmp_path / "released.pth", tmp_path / "converted.pth"
    state_dict = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"model": state_dict, "iteration": 90000}, source)
    _convert(source, target)
    log = capsys.readouterr()
    assert "the whole model" in log.out + log.err
    content = torch.load(target, weights_only=True)
    torch.testing.assert_close(content["model"], dict(model.state_dict()), rtol=0, atol=0)


def test_given_settings_are_recorded(torchvision_file: Path, tmp_path: Path):
    _convert(torchvision_file, tmp_path / "c.pth", "INPUT.PIXEL_STD", "[0.5, 0.5, 0.5]")
    settings = torch.load(tmp_path / "c.pth", weights_only=True)["settings"]
    assert settings["INPUT.PIXEL_STD"] == [0.5, 0.5, 0.5]
    assert settings["INPUT.PIXEL_MEAN"] == [0.485, 0.456, 0.406]


def test_parts_of_a_detector_become_ours_where_the_others_may_be_fresh(tmp_path: Path):
    source, target = tmp_path / "centermask2.pth", tmp_path / "c.pth"
    content = {
        "proposal_generator.fcos_head.cls_tower.0.weight": torch.ones(128, 128, 3, 3),
        "roi_heads.mask_head.mask_fcn1.weight": torch.ones(128, 128, 3, 3),
    }
    torch.save({"model": content}, source)
    with pytest.raises(CheckpointError, match=r"MODEL\.FRESH_PARTS"):
        _convert(source, target)
    assert not target.exists()
    _convert(source, target, "MODEL.FRESH_PARTS", "('backbone', 'rpn', 'roi_heads')")
    converted = torch.load(target, weights_only=True)["model"]
    assert len(converted) == 2
    assert any(name.startswith("roi_heads.mask.") for name in converted)
    assert "rpn.head.cls_tower.0.weight" in converted


def test_nothing_is_replaced_unless_told(torchvision_file: Path, tmp_path: Path):
    target = tmp_path / "c.pth"
    target.write_text("precious")
    with pytest.raises(CheckpointError, match="--overwrite"):
        _convert(torchvision_file, target)
    assert target.read_text() == "precious"
    _convert("--overwrite", torchvision_file, target)
    assert torch.load(target, weights_only=True).keys() == {"model", "settings"}


def test_a_file_of_which_nothing_fits_writes_nothing(tmp_path: Path):
    torch.save({"model": {"x": torch.ones(1)}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not one tensor fits"):
        _convert(tmp_path / "x.pth", tmp_path / "c.pth")
    assert not (tmp_path / "c.pth").exists()
    with pytest.raises(CheckpointError, match="INPUT"):
        _convert("", tmp_path / "c.pth")


def test_the_reasons_are_told_even_if_nothing_is_left(tmp_path: Path, capsys):
    names = ("sem_seg_head.predictor.weight", "proposal_generator.x")
    content = {name: torch.ones(1) for name in names}
    torch.save({"model": content}, tmp_path / "panoptic_fpn.pth")
    with pytest.raises(CheckpointError, match="not one tensor fits"):
        _convert(tmp_path / "panoptic_fpn.pth", tmp_path / "c.pth")
    log = capsys.readouterr()
    assert re.search(r"not taken: .* Because: ", log.out + log.err)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_body_goes_back_to_its_library(
    ending: str, torchvision_file: Path, tmp_path: Path, capsys
):
    ours, theirs = tmp_path / "ours.pth", tmp_path / f"theirs.{ending}"
    _convert(torchvision_file, ours)
    _convert("--to", "torchvision/mobilenet_v2", ours, theirs)
    log = capsys.readouterr()
    assert f"{theirs}: wrote 306 tensors for torchvision/mobilenet_v2" in log.out + log.err
    assert "Not in it: features.18.0.weight" in log.out + log.err
    assert "Give it images of: INPUT.TO_BGR255 False" in log.out + log.err
    original = torch.load(torchvision_file, weights_only=True)
    is_torchs = ending == "pth"
    returned = torch.load(theirs, weights_only=True) if is_torchs else load_file(theirs)
    absent = set(original) ^ set(returned)
    assert all(name.startswith(("features.18.", "classifier.")) for name in absent)
    for name, value in returned.items():
        # Taking the epsilon in and out rounds the variances.
        atol = 1e-7 if name.endswith("running_var") else 0
        torch.testing.assert_close(value, original[name], rtol=0, atol=atol)


def test_a_network_that_is_not_the_body_is_refused(torchvision_file: Path, tmp_path: Path):
    target = tmp_path / "theirs.pth"
    with pytest.raises(ConfigError, match=r"torchvision/MODEL.*resnet50"):
        _convert("--to", "resnet50", torchvision_file, target)
    with pytest.raises(CheckpointError, match="--to torchvision/resnet50"):
        _convert("--to", "torchvision/resnet50", torchvision_file, target)
    assert not target.exists()


def test_a_name_of_another_format_is_refused(torchvision_file: Path, tmp_path: Path):
    """Nothing could read the checkpoint again."""
    for ending in (".safetensors", ".pkl", ".npz"):
        with pytest.raises(CheckpointError, match=rf"\.pth.*{ending}"):
            _convert(torchvision_file, tmp_path / f"c{ending}")
        assert not (tmp_path / f"c{ending}").exists()


def test_a_checkpoint_of_ours_keeps_its_classes(tmp_path: Path):
    cfg = _config(tmp_path / "none")
    cfg.MODEL.NUM_CLASSES = cfg.MODEL.FCOS.NUM_CLASSES = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 3
    model = build_detection_model(cfg)
    categories = [Category(4, "bolt"), Category(9, "nut")]
    DetectronCheckpointer(cfg, model, save_dir=tmp_path, categories=categories).save("own")
    _convert(tmp_path / "own.pth", tmp_path / "shipped.pth", "MODEL.NUM_CLASSES", 3)
    described = read_description(tmp_path / "shipped.pth")
    assert described.categories == tuple(categories)
    assert described.settings().MODEL.NUM_CLASSES == 3
