"""Settings of a training from the data, and what a model must not be given."""

import pytest

from maskrcnn_benchmark.cli.train import make_settings, parse_words
from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.shipped import MODELS
from maskrcnn_benchmark.weights.sources import make_settings_match_weights
from tests.cli.small_data import write_labelme, write_roboflow


def settings(*words):
    return make_settings(parse_words([*map(str, words), "--device", "cpu"]))


def test_classes_and_parts_come_from_the_data(tmp_path, capsys):
    data = write_roboflow(tmp_path / "photos")
    cfg = settings("--data", data)
    assert cfg.MODEL.NUM_CLASSES == cfg.MODEL.FCOS.NUM_CLASSES == 3
    assert cfg.DATASETS.TRAIN == cfg.DATASETS.TEST == (str(data),)
    assert cfg.MODEL.WEIGHT == "catalog://quickstart/mobilenet_v2"
    assert "6 photos" in capsys.readouterr().out


def test_what_is_given_wins(tmp_path):
    data = write_labelme(tmp_path / "photos")
    own = tmp_path / "own.yaml"
    own.write_text("SOLVER: {WEIGHT_DECAY: 0.5, CLIP_GRAD_NORM: 1.0}\n")
    words = ["--data", data, "--model", "centermask-lite-mv2", "--config-file", own]
    cfg = settings(*words, "SOLVER.CLIP_GRAD_NORM", 2.0, "MODEL.NUM_CLASSES", 5, "SEED", "3")
    assert (cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.CLIP_GRAD_NORM) == (0.5, 2.0)
    assert (cfg.MODEL.NUM_CLASSES, cfg.SEED) == (5, 3)
    assert cfg.SOLVER.OPTIMIZER == "AdamW"


def test_a_file_of_settings_alone_is_left_as_it_is(tmp_path):
    data = write_labelme(tmp_path / "photos")
    cfg = settings(
        *("--data", data, "--config-file"),
        "configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml",
    )
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.OPTIMIZER) == (360000, "SGD")
    assert cfg.MODEL.NUM_CLASSES == 3


@pytest.mark.parametrize("model", MODELS)
def test_every_model_gets_its_classes_and_settings_that_suit_its_weights(tmp_path, model):
    if "timm" in MODELS[model].weights or model == "centermask-hrnet-w32":
        pytest.importorskip("timm")
    cfg = settings("--data", write_labelme(tmp_path / "photos"), "--model", model)
    make_settings_match_weights(cfg)
    assert cfg.MODEL.NUM_CLASSES == 3


@pytest.mark.parametrize("model", ["centermask-lite-mv2", "mask-rcnn-r50"])
def test_boxes_without_outlines_name_all_that_has_to_be_set(tmp_path, model):
    data = write_roboflow(tmp_path / "photos", outlines=False)
    with pytest.raises(ConfigError, match=r"faster-rcnn-r50") as error:
        settings("--data", data, "--model", model)
    words = str(error.value).partition("by adding: ")[2].split()
    assert "MODEL.MASK_ON" in words
    assert settings("--data", data, "--model", model, *words).MODEL.NUM_CLASSES == 3
    assert settings("--data", data, "--model", "faster-rcnn-r50").MODEL.NUM_CLASSES == 3


def test_the_best_is_kept_and_patience_is_what_was_said(tmp_path):
    data = write_roboflow(tmp_path / "photos")
    cfg = settings("--data", data)
    assert (cfg.SOLVER.KEEP_BEST, cfg.SOLVER.EARLY_STOP_PATIENCE) == (True, 0)
    assert cfg.SOLVER.TEST_PERIOD > 0
    assert settings("--data", data, "--patience", 3).SOLVER.EARLY_STOP_PATIENCE == 3
    with pytest.raises(SystemExit):
        settings("--data", data, "--patience", 0)
