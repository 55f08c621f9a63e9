"""Several data sets as one."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from torch.utils.data import ConcatDataset as TorchConcatDataset

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset, Sample
from maskrcnn_benchmark.data.errors import DatasetError


class ConcatDataset(TorchConcatDataset[Sample], DetectionDataset):
    """Data sets one after the other, which agree about their categories, to train on.

    Args:
        datasets: one or more.

    Attributes:
        name: names of the data sets with " + " between them.

    Raises:
        DatasetError: two data sets give one contiguous id to different categories.
    """

    def __init__(self, datasets: Sequence[DetectionDataset]) -> None:
        super().__init__(datasets)
        self.name = " + ".join(dataset.name for dataset in datasets)
        first = datasets[0]
        for other in datasets[1:]:
            if other.categories != first.categories:
                raise DatasetError(
                    f"{first.name} and {other.name} cannot be used together, because their "
                    f"categories differ: {_difference(first.categories, other.categories)}"
                )
        self.image_ids = list(chain.from_iterable(dataset.image_ids for dataset in datasets))
        self.categories = first.categories
        self.contiguous_category_id_to_json_id = first.contiguous_category_id_to_json_id
        self.has_masks = all(dataset.has_masks for dataset in datasets)
        self.has_keypoints = all(dataset.has_keypoints for dataset in datasets)
        self.num_damaged = sum(dataset.num_damaged for dataset in datasets)

    def get_idxs(self, idx: int) -> tuple[int, int]:
        """The (number of the data set, position in it) of a position in the whole."""
        if not 0 <= idx < len(self):
            raise IndexError(f"index {idx} is out of range for {len(self)} images")
        number = bisect_right(self.cumulative_sizes, idx)
        start = self.cumulative_sizes[number - 1] if number else 0
        return number, idx - start

    def get_img_info(self, index: int) -> Mapping[str, Any]:
        """What its data set knows about the image at a position, such as its size."""
        number, position = self.get_idxs(index)
        dataset: DetectionDataset = self.datasets[number]  # type: ignore[assignment]
        return dataset.get_img_info(position)


def _difference(first: Mapping[int, str], second: Mapping[int, str]) -> str:
    """The first class about which two data sets differ, in words."""
    for label in sorted(first.keys() | second.keys()):
        names = first.get(label, "nothing"), second.get(label, "nothing")
        if names[0] != names[1]:
            return f"class {label} is {names[0]!r} in one and {names[1]!r} in the other"
    return "nothing"
