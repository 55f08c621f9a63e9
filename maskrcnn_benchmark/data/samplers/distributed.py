"""Which part of a data set each process sees."""

from collections.abc import Iterator, Sized
from itertools import cycle, islice

import torch
from torch.utils.data import Sampler

from maskrcnn_benchmark.data.samplers.seeds import mix_seed
from maskrcnn_benchmark.utils.comm import get_rank, get_world_size


class DistributedSampler(Sampler[int]):
    """The indices of one process: a disjoint part of the data set, anew shuffled each epoch.

    The order depends on ``seed`` and epoch only, so that all processes agree about it. It also
    serves a single process.

    Args:
        dataset: the data set; only its length is used.
        num_replicas: number of processes; None asks ``torch.distributed``.
        rank: number of this process; None asks ``torch.distributed``.
        shuffle: in a new random order each epoch, instead of ascending.
        seed: start of the random order.
        pad: give all processes equally many indices by repeating some. Right for training; an
            evaluation that must see each image once says False.

    Raises:
        ValueError: ``rank`` is not below ``num_replicas``.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        *,
        seed: int = 0,
        pad: bool = True,
    ) -> None:
        self.dataset = dataset
        self.num_replicas = get_world_size() if num_replicas is None else num_replicas
        self.rank = get_rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"rank must lie in [0, {self.num_replicas}), not {self.rank}")
        self.shuffle = shuffle
        self.seed = seed
        self.pad = pad
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration by the number of the pass, from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = range(len(self.dataset))
        indices = self._permuted(len(order)) if self.shuffle else list(order)
        if indices:
            # The cycle is what repeats indices, even in a data set smaller than the padding.
            padded = islice(cycle(indices), self.total_size)
            indices = list(islice(padded, self.rank, None, self.num_replicas))
        return iter(indices)

    def __len__(self) -> int:
        return self.num_samples

    @property
    def num_samples(self) -> int:
        """Indices of this process."""
        return len(range(self.rank, self.total_size, self.num_replicas))

    @property
    def total_size(self) -> int:
        """Indices of all processes together."""
        count = len(self.dataset)
        return count + -count % self.num_replicas if self.pad else count

    def _permuted(self, count: int) -> list[int]:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch))
        permutation: list[int] = torch.randperm(count, generator=generator).tolist()
        return permutation
