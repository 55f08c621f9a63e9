"""Samples put together to a batch."""

import io
import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import (
    ImageList,
    PixelImageList,
    PixelNormalizer,
    to_image_list,
)


class Batch(NamedTuple):
    """What the model is given.

    Attributes:
        images: N images, zero-padded right and bottom to a common size; as pixels, they are
            normalised by ``images.to(device)``.
        targets: for each its boxes, in px of the resized image.
        image_ids: for each its id in the annotation file.
    """

    images: ImageList
    targets: tuple[BoxList, ...]
    image_ids: tuple[int, ...]


def pad_together(
    images: Sequence[Tensor], size_divisible: int, normalizer: PixelNormalizer | None
) -> ImageList:
    """Some images zero-padded right and bottom to a common size.

    Args:
        images: one or more of (3, H, W), normalised; or 8-bit pixels, if there is a normalizer.
        size_divisible: common height and width become multiples of this; 0 adds nothing.
        normalizer: what the model wants done with pixels.
    """
    padded = to_image_list(images, size_divisible)
    if normalizer is None or padded.tensors.dtype != torch.uint8:
        return padded
    return PixelImageList(padded.tensors, padded.image_sizes, normalizer)


class BatchCollator:
    """Makes a ``Batch`` of samples.

    Args:
        size_divisible: common height and width become multiples of this; 0 adds nothing.
        normalizer: what the model wants done with images that are 8-bit pixels; others are taken
            to be normalised.
    """

    def __init__(self, size_divisible: int = 0, normalizer: PixelNormalizer | None = None) -> None:
        self.size_divisible = size_divisible
        self.normalizer = normalizer

    def __call__(self, samples: Sequence[tuple[Tensor, BoxList, int]]) -> Batch:
        """The batch of some (image (3, H, W), target, image id)."""
        images, targets, image_ids = zip(*samples, strict=True)
        batch = Batch(
            pad_together(images, self.size_divisible, self.normalizer), targets, image_ids
        )
        if get_worker_info() is None:
            return batch
        # A worker hands each tensor over as an open file. A batch has a few per image, several
        # batches wait, and systems allow few open files: let only the images travel that way.
        return batch._replace(targets=_ByValue(targets))  # type: ignore[arg-type]


class _ByValue:
    """Stands for an object that is to be pickled whole; unpickling gives the object itself."""

    def __init__(self, content: object) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        stream = io.BytesIO()
        _ValuePickler(stream, pickle.HIGHEST_PROTOCOL).dump(self.content)
        return pickle.loads, (stream.getvalue(),)


class _ValuePickler(pickle.Pickler):
    """Pickles tensors as arrays, which is ten times faster than torch's own way."""

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - defined by pickle
        if isinstance(obj, Tensor):
            return torch.from_numpy, (obj.numpy(),)
        return NotImplemented
