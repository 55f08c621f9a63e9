"""Changes of images together with their targets."""

from maskrcnn_benchmark.data.transforms.augmentations import (
    AUGMENTATIONS,
    PhotometricDistortion,
    RandomCrop,
    RandomExpansion,
)
from maskrcnn_benchmark.data.transforms.build import (
    RESIZE_RULES,
    ResizeRule,
    build_pixel_normalizer,
    build_pixel_transforms,
    build_training_transforms,
    build_transforms,
    make_needed_side,
    make_needs_bitmaps,
    make_size_divisor,
)
from maskrcnn_benchmark.data.transforms.canvas import FitToCanvas, resize_first_pixels
from maskrcnn_benchmark.data.transforms.colors import RandomColors
from maskrcnn_benchmark.data.transforms.floats import ToFloats, ToImage, ToNormalized
from maskrcnn_benchmark.data.transforms.shorter_side import ResizeFloats
from maskrcnn_benchmark.data.transforms.square import ResizeToSquare
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
    resized_floor_hw,
    resized_hw,
    resized_nearest_hw,
)

__all__ = [
    "AUGMENTATIONS",
    "RESIZE_BACKENDS",
    "RESIZE_RULES",
    "Compose",
    "FitToCanvas",
    "Normalize",
    "PhotometricDistortion",
    "RandomColors",
    "RandomCrop",
    "RandomDiagonalFlip",
    "RandomExpansion",
    "RandomHorizontalFlip",
    "RandomTransform",
    "RandomVerticalFlip",
    "Resize",
    "ResizeFloats",
    "ResizeRule",
    "ResizeToSquare",
    "ToFloats",
    "ToImage",
    "ToNormalized",
    "ToPixels",
    "ToTensor",
    "build_pixel_normalizer",
    "build_pixel_transforms",
    "build_training_transforms",
    "build_transforms",
    "make_needed_side",
    "make_needs_bitmaps",
    "make_size_divisor",
    "resize_first_pixels",
    "resized_floor_hw",
    "resized_hw",
    "resized_nearest_hw",
]
