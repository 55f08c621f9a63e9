"""A training from weights of a library, and the evaluation of what it left."""

from pathlib import Path

import pytest
import torch
import torchvision

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.random_state import preserved_random_state
from tests.tools.small_run import arguments, write_data_set
from tests.weights.library_caches import fill_torchvision
from tools import test_net, train_net

WEIGHT = "catalog://torchvision/mobilenet_v2"
SET = f"{WEIGHT}: set INPUT.TO_BGR255 False INPUT.PIXEL_MEAN"


@pytest.mark.slow
def test_settings_follow_the_weights_from_training_to_evaluation(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    network = torchvision.models.mobilenet_v2(weights=None)
    fill_torchvision(tmp_path / "cache", "mobilenet_v2", "IMAGENET1K_V1", network.state_dict())
    catalog = write_data_set(tmp_path)
    run, later, wrong = (tmp_path / name for name in ("run", "later", "wrong"))
    with preserved_random_state():
        words = arguments(catalog, run, MODEL__WEIGHT=WEIGHT, SOLVER__MAX_ITER=2)
        train_net.main([words[0], words[1], "--skip-test", *words[2:]])
        log = (run / "log.txt").read_text()
        assert SET in log
        assert "TO_BGR255: false" in (run / "config.yml").read_text()
        file = run / "model_final.pth"
        settings = torch.load(file, weights_only=True)["settings"]
        assert settings["INPUT.TO_BGR255"] is False
        # The same settings file, the trained weights by name: nothing says RGB but the file.
        test_net.main(arguments(catalog, later, MODEL__WEIGHT=file))
        assert f"{file}: set INPUT.TO_BGR255 False" in (later / "log.txt").read_text()
        with pytest.raises(ConfigError, match=r"model_final\.pth .*INPUT\.TO_BGR255"):
            test_net.main(arguments(catalog, wrong, MODEL__WEIGHT=file, INPUT__TO_BGR255=True))
