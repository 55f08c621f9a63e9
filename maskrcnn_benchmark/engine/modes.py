"""The ways of computing detections with a trained model."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import nn

from maskrcnn_benchmark.config.registry import Registry
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

Detect: TypeAlias = Callable[[ImageList], Sequence[BoxList]]
# From a model in evaluation mode and its device to what detects in its place: the model itself
# under autocast, a copy in another type, one with compiled parts. The model stays as it is.
InferenceMode: TypeAlias = Callable[[nn.Module, torch.device], Detect]

INFERENCE_MODES: Registry[InferenceMode] = Registry("inference mode (TEST.INFERENCE_MODE)")


@INFERENCE_MODES.register("plain")
def detect_plainly(model: nn.Module, device: torch.device) -> Detect:  # noqa: ARG001 - of every mode
    """The model itself: it computes in the type of its weights."""
    return model
