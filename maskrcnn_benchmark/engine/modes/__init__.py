"""The ways of computing detections with a trained model."""

from maskrcnn_benchmark.engine.modes import auto, fast, plain  # noqa: F401  # registers them
from maskrcnn_benchmark.engine.modes.registry import INFERENCE_MODES, Detect, InferenceMode

__all__ = ["INFERENCE_MODES", "Detect", "InferenceMode"]
