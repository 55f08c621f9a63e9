"""What several tests of commands start from."""

import pytest
import torch

from maskrcnn_benchmark.config.shipped import find_model
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.description import Category


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A checkpoint of a model that has learned nothing."""
    torch.manual_seed(0)
    words = ["MODEL.NUM_CLASSES", 3, "MODEL.FCOS.NUM_CLASSES", 3, "INPUT.MIN_SIZE_TEST", 32]
    words += ["MODEL.WEIGHT", "", "TEST.DETECTIONS_PER_IMG", 2]
    words += ["MODEL.FCOS.INFERENCE_TH", 0.0]
    cfg = load_settings(find_model("centermask-lite-mv2").path, words)
    folder = tmp_path_factory.mktemp("model")
    categories = (Category(5, "cat"), Category(9, "dog"))
    network = build_detection_model(cfg)
    DetectronCheckpointer(cfg, network, save_dir=folder, categories=categories).save("model_final")
    return str(folder / "model_final.pth")
