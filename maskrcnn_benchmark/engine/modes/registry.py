"""What a way of computing detections is, and where it is found by its name."""

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
