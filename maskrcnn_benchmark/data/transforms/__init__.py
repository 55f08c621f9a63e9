"""Changes of images together with their targets."""

from maskrcnn_benchmark.data.transforms.build import (
    build_pixel_normalizer,
    build_pixel_transforms,
    build_training_transforms,
    build_transforms,
    make_needed_side,
)
from maskrcnn_benchmark.data.transforms.colors import RandomColors
from maskrcnn_benchmark.data.transforms.transforms import (
    RESIZE_BACKENDS,
    Compose,
    Normalize,
    RandomDiagonalFlip,
    RandomHorizontalFlip,
    RandomTransform,
    RandomVerticalFlip,
    Resize,
    ToPixels,
    ToTensor,
    resized_hw,
    resized_nearest_hw,
)

__all__ = [
    "RESIZE_BACKENDS",
    "Compose",
    "Normalize",
    "RandomColors",
    "RandomDiagonalFlip",
    "RandomHorizontalFlip",
    "RandomTransform",
    "RandomVerticalFlip",
    "Resize",
    "ToPixels",
    "ToTensor",
    "build_pixel_normalizer",
    "build_pixel_transforms",
    "build_training_transforms",
    "build_transforms",
    "make_needed_side",
    "resized_hw",
    "resized_nearest_hw",
]
