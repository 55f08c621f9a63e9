"""Changes of images together with their targets."""

from maskrcnn_benchmark.data.transforms.build import build_transforms
from maskrcnn_benchmark.data.transforms.transforms import (
    Compose,
    Normalize,
    RandomHorizontalFlip,
    RandomTransform,
    Resize,
    ToTensor,
    resized_hw,
)

__all__ = [
    "Compose",
    "Normalize",
    "RandomHorizontalFlip",
    "RandomTransform",
    "Resize",
    "ToTensor",
    "build_transforms",
    "resized_hw",
]
