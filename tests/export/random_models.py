"""Checkpoints of models with random weights that find something."""

from pathlib import Path

import torch

from maskrcnn_benchmark.config.shipped import find_model
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.timing.contenders import Inputs
from maskrcnn_benchmark.timing.random_weights import fitting_norms
from maskrcnn_benchmark.weights.description import (
    DESCRIPTION_ENTRY,
    Category,
    ModelDescription,
)

PHOTO = Path(__file__).parents[2] / "datasets" / "quickstart" / "val" / "000000005001.jpg"
CANDIDATES = 300
"""Scores on the photo that exceed the threshold."""


def save_random_model(name: str, path: Path, *opts: object, config_file: str = "") -> Path:
    """A checkpoint at ``path`` of a shipped model, or of a file of settings, on the CPU."""
    file = config_file or find_model(name).path
    cfg = load_settings(file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", *opts])
    cfg.defrost()
    torch.manual_seed(0)
    model = build_detection_model(cfg).eval()
    images = Inputs.from_config(cfg, "pil").of_files([PHOTO])
    with torch.no_grad():
        with fitting_norms(model):
            model.backbone(images)
        logits = model.rpn.head(model.backbone(images))[0]
    scores = torch.cat([level.flatten() for level in logits]).sigmoid()
    threshold = float(scores.topk(CANDIDATES).values[-1])
    cfg.MODEL.FCOS.INFERENCE_TH = cfg.MODEL.RETINANET.INFERENCE_TH = threshold
    classes = [Category(10 * label, f"class {label}") for label in range(1, 81)]
    description = ModelDescription.from_config(cfg, classes)
    torch.save({"model": model.state_dict(), DESCRIPTION_ENTRY: description.as_entry()}, path)
    return path
