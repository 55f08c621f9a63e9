"""Checkpoints of models with random weights that find something."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from maskrcnn_benchmark.config.shipped import find_model
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.timing.contenders import Inputs
from maskrcnn_benchmark.timing.random_weights import fitting_norms
from maskrcnn_benchmark.timing.thresholds import make_threshold
from maskrcnn_benchmark.weights.description import (
    DESCRIPTION_ENTRY,
    Category,
    ModelDescription,
)

PHOTO = Path(__file__).parents[2] / "datasets" / "quickstart" / "val" / "000000005001.jpg"


def save_random_model(
    name: str, path: Path, *opts: object, change: Callable[[nn.Module], None] | None = None
) -> Path:
    """A checkpoint at ``path`` of a shipped model on the CPU, whose weights ``change`` changed."""
    file = find_model(name).path
    cfg = load_settings(file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", *opts])
    cfg.defrost()
    torch.manual_seed(0)
    model = build_detection_model(cfg).eval()
    if change is not None:
        change(model)
    images = Inputs.from_config(cfg, "pil")([read_image(PHOTO)])
    with torch.no_grad(), fitting_norms(model):
        model.backbone(images.tensors)
    key, threshold = make_threshold(cfg, model, images)
    cfg.merge_from_list([key, threshold])
    classes = [Category(10 * label, f"class {label}") for label in range(1, 81)]
    description = ModelDescription.from_config(cfg, classes)
    torch.save({"model": model.state_dict(), DESCRIPTION_ENTRY: description.as_entry()}, path)
    return path
