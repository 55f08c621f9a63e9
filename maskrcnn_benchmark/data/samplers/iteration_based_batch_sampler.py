"""Batches counted in iterations instead of epochs."""

from collections.abc import Iterable, Iterator

from torch.utils.data import Sampler

from maskrcnn_benchmark.data.samplers.seeds import SampleKey


class IterationBasedBatchSampler(Sampler[list[int]]):
    """A fixed number of batches, from as many passes over a batch sampler as it takes.

    Started at iteration k it yields exactly what an uninterrupted run yields from iteration k on,
    provided that the batch sampler's order depends on its epoch only.

    Args:
        batch_sampler: yields batches of indices. It, or its ``sampler``, is told the number of
            each pass by ``set_epoch(epoch)``, if it has that method.
        num_iterations: batches of a whole run.
        start_iter: batches that were done before; the sampler yields the remaining ones.

    Raises:
        ValueError: a negative ``start_iter``, or (while iterating) a batch sampler without a
            single batch.
    """

    def __init__(
        self, batch_sampler: Iterable[list[int]], num_iterations: int, start_iter: int = 0
    ) -> None:
        if start_iter < 0:
            raise ValueError(f"start_iter must be at least 0, not {start_iter}")
        self.batch_sampler = batch_sampler
        self.num_iterations = num_iterations
        self.start_iter = start_iter

    def __iter__(self) -> Iterator[list[int]]:
        iteration = epoch = 0
        while iteration < self.num_iterations:
            # UPSTREAM(restart-inside-epoch): iteration_based_batch_sampler.py began a continued
            # run with a new pass, its number being the iteration: other data at each restart.
            _set_epoch(self.batch_sampler, epoch)
            first = iteration
            for batch in self.batch_sampler:
                if iteration >= self.num_iterations:
                    return
                if iteration >= self.start_iter:
                    yield batch
                iteration += 1
            if iteration == first:
                raise ValueError("the batch sampler yields no batch: is the data set empty?")
            epoch += 1

    # UPSTREAM(length-of-the-rest): the original's length is num_iterations wherever it starts.
    def __len__(self) -> int:
        return max(self.num_iterations - self.start_iter, 0)


class KeyedBatchSampler(Sampler[list[SampleKey]]):
    """The batches of another sampler, each index with its iteration and its place in the batch.

    Args:
        batch_sampler: batches of indices.
        start_iter: iteration of its first batch.
    """

    def __init__(self, batch_sampler: IterationBasedBatchSampler, start_iter: int = 0) -> None:
        self.batch_sampler = batch_sampler
        self.start_iter = start_iter

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for iteration, batch in enumerate(self.batch_sampler, start=self.start_iter):
            yield [SampleKey(index, iteration, place) for place, index in enumerate(batch)]

    def __len__(self) -> int:
        return len(self.batch_sampler)


def _set_epoch(batch_sampler: object, epoch: int) -> None:
    """Tell the batch sampler, or else the sampler inside, the number of the pass."""
    for candidate in (batch_sampler, getattr(batch_sampler, "sampler", None)):
        if hasattr(candidate, "set_epoch"):
            candidate.set_epoch(epoch)
            return
