"""A data set whose random changes can be repeated."""

import random
from typing import Any, Final

from torch.utils.data import Dataset

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset, Sample
from maskrcnn_benchmark.data.samplers.seeds import SampleKey, mix_seed
from maskrcnn_benchmark.data.transforms.transforms import RandomTransform
from maskrcnn_benchmark.structures.bounding_box import BoxList

_PASSED_ON: Final = frozenset(
    {
        "categories",
        "contiguous_category_id_to_json_id",
        "get_img_info",
        "ground_truth",
        "id_to_img_map",
        "image_ids",
        "json_category_id_to_contiguous_id",
        "name",
    }
)


class SeededDataset(Dataset[Sample]):
    """The samples of a data set, each changed as its key says and nothing else.

    The random numbers of a sample depend on (seed, iteration, position in the batch, rank). So a
    run that is continued sees the images that it would have seen, with any number of workers.
    Those of ``batch_transforms`` depend on (seed, iteration): all processes draw the same.

    Args:
        dataset: yields (image, target, image id) unchanged, i.e. was made without transforms.
        transforms: what to do with image and target.
        seed: of the run.
        rank: number of this process.
        batch_transforms: what to do before with all samples of a batch alike; None: nothing.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        transforms: RandomTransform,
        *,
        seed: int,
        rank: int = 0,
        batch_transforms: RandomTransform | None = None,
    ) -> None:
        self.dataset = dataset
        self.transforms = transforms
        self.seed = seed
        self.rank = rank
        self.batch_transforms = batch_transforms

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the data set has
        """What scripts ask the data set of a training loader for, from the wrapped one."""
        if name in _PASSED_ON:
            return getattr(self.dataset, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """The (image, target, image id) for a key, after the transforms.

        A plain position stands for that image first in the first batch.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(key, iteration=0, position=0)
        image, target, image_id = self.dataset[key.dataset_index]
        changed: BoxList | None = target
        if self.batch_transforms is not None:
            batch_rng = random.Random(mix_seed(self.seed, key.iteration))
            image, changed = self.batch_transforms(image, changed, batch_rng)
        rng = random.Random(mix_seed(self.seed, key.iteration, key.position, self.rank))
        image, changed = self.transforms(image, changed, rng)
        if changed is None:
            raise ValueError("the transforms lost the target")
        return image, changed, image_id
