"""The model as it is."""

import torch
from torch import nn

from maskrcnn_benchmark.engine.modes.registry import INFERENCE_MODES, Detect


@INFERENCE_MODES.register("plain")
def detect_plainly(model: nn.Module, device: torch.device) -> Detect:  # noqa: ARG001 - of every mode
    """The model itself: it computes in the type of its weights."""
    return model
