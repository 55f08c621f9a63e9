"""The ways of computing detections with a trained model."""

from maskrcnn_benchmark.engine.modes import (  # noqa: F401  # registers them
    auto,
    compiled,
    fast,
    plain,
)
from maskrcnn_benchmark.engine.modes.registry import INFERENCE_MODES, Detect, InferenceMode

__all__ = ["INFERENCE_MODES", "Detect", "InferenceMode"]
