"""Samples put together to a batch."""

import io
import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list


class Batch(NamedTuple):
    """What the model is given.

    Attributes:
        images: N images, zero-padded right and bottom to a common size.
        targets: for each its boxes, in px of the resized image.
        image_ids: for each its id in the annotation file.
    """

    images: ImageList
    targets: tuple[BoxList, ...]
    image_ids: tuple[int, ...]


class BatchCollator:
    """Makes a ``Batch`` of samples.

    Args:
        size_divisible: common height and width become multiples of this; 0 adds nothing.
    """

    def __init__(self, size_divisible: int = 0) -> None:
        self.size_divisible = size_divisible

    def __call__(self, samples: Sequence[tuple[Tensor, BoxList, int]]) -> Batch:
        """The batch of some (image (3, H, W), target, image id)."""
        images, targets, image_ids = zip(*samples, strict=True)
        batch = Batch(to_image_list(images, self.size_divisible), targets, image_ids)
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
