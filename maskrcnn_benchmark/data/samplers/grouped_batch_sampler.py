"""Batches of images that belong together."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Protocol

from torch.utils.data import Sampler


class SizedIndices(Sized, Iterable[int], Protocol):
    """A sampler: indices with a length."""


class GroupedBatchSampler(Sampler[list[int]]):
    """Batches of indices of one group each.

    Elements keep the order of the sampler, and batches come in the order of their first element.
    The last batch of a group may be smaller than the others.

    Args:
        sampler: yields indices; its ``set_epoch``, if any, is passed on.
        group_ids: group of each index of the data set.
        batch_size: elements in a full batch.
        drop_uneven: leave incomplete batches out.

    Raises:
        ValueError: ``batch_size`` below 1.
    """

    def __init__(
        self,
        sampler: SizedIndices,
        group_ids: Sequence[int],
        batch_size: int,
        drop_uneven: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.sampler = sampler
        self.group_ids = [int(group) for group in group_ids]
        self.batch_size = batch_size
        self.drop_uneven = drop_uneven

    def set_epoch(self, epoch: int) -> None:
        """Pass the number of the epoch on to the sampler."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches())

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        batches: list[list[int]] = []
        open_batches: dict[int, list[int]] = {}
        for index in self.sampler:
            group = self.group_ids[index]
            batch = open_batches.get(group)
            if batch is None or len(batch) == self.batch_size:
                batch = open_batches[group] = []
                batches.append(batch)
            batch.append(index)
        if self.drop_uneven:
            return [batch for batch in batches if len(batch) == self.batch_size]
        return batches
