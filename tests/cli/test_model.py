"""The model that a command runs."""

import pytest

from maskrcnn_benchmark.cli import test as test_command
from maskrcnn_benchmark.cli.model import load_model_settings
from maskrcnn_benchmark.config.errors import ConfigError


def test_a_folder_of_a_run_is_answered_with_the_model_in_it(tmp_path):
    with pytest.raises(ConfigError, match="no such model"):
        load_model_settings(str(tmp_path), None, "cpu", [])
    (tmp_path / "model_final.pth").touch()
    with pytest.raises(ConfigError, match=r"folder.*model_final\.pth"):
        load_model_settings(str(tmp_path), None, "cpu", [])
    (tmp_path / "model_best.pth").touch()
    with pytest.raises(ConfigError, match=r"folder.*model_best\.pth"):
        load_model_settings(str(tmp_path), None, "cpu", [])


def test_a_trained_model_is_tested_by_its_name():
    words = ["torchvision-mask-rcnn", "--data", "photos", "--device", "cpu", "SEED", "3"]
    cfg = test_command.make_settings(test_command.parse_words(words))
    assert cfg.MODEL.WEIGHT.startswith("catalog://torchvision/maskrcnn")
    assert (cfg.MODEL.DEVICE, cfg.SEED) == ("cpu", 3)
    assert (cfg.DATASETS.TEST, cfg.OUTPUT_DIR) == (("photos",), "torchvision-mask-rcnn")
    with pytest.raises(ConfigError, match="no such model"):
        test_command.make_settings(test_command.parse_words(["torchvision-mask"]))


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.bin", "model.dense.pt2"])
def test_exports_are_answered_with_what_runs_them(name, tmp_path):
    file = tmp_path / name
    file.touch()
    with pytest.raises(ConfigError, match="name the checkpoint"):
        load_model_settings(str(file), None, "cpu", [])
