"""Restarting at an iteration yields what an uninterrupted run yields from there on."""

import pytest
from torch.utils.data import BatchSampler

from maskrcnn_benchmark.data.samplers import (
    DistributedSampler,
    GroupedBatchSampler,
    IterationBasedBatchSampler,
    KeyedBatchSampler,
    SampleKey,
)


def grouped(count=11, num_replicas=1, rank=0):
    groups = [index % 2 for index in range(count)]
    sampler = DistributedSampler(groups, num_replicas, rank, seed=5)
    return GroupedBatchSampler(sampler, groups, 3)


def plain(count=11):
    return BatchSampler(DistributedSampler(range(count), 1, 0), 3, drop_last=False)


@pytest.mark.parametrize("make", [grouped, plain])
@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 13, 20])
def test_restart_equals_uninterrupted(make, start):
    """upstream: restart-inside-epoch; upstream: length-of-the-rest."""
    whole = list(IterationBasedBatchSampler(make(), 20))
    assert len(whole) == 20
    sampler = IterationBasedBatchSampler(make(), 20, start)
    rest = list(sampler)
    assert rest == whole[start:]
    assert len(sampler) == len(rest)


def test_restart_is_exact_where_the_number_of_batches_changes_by_epoch():
    """A process' part of the data holds other numbers of each group in every epoch."""
    lengths = set()
    for epoch in range(6):
        sampler = grouped(11, num_replicas=2)
        sampler.set_epoch(epoch)
        lengths.add(len(sampler))
    assert len(lengths) > 1
    whole = list(IterationBasedBatchSampler(grouped(11, 2), 30))
    for start in range(31):
        assert list(IterationBasedBatchSampler(grouped(11, 2), 30, start)) == whole[start:]


def test_epochs_are_complete_and_differ():
    whole = list(IterationBasedBatchSampler(plain(9), 6))
    first, second = whole[:3], whole[3:]
    for epoch in (first, second):
        assert sorted(index for batch in epoch for index in batch) == list(range(9))
    assert first != second


def test_a_used_sampler_starts_again():
    sampler = IterationBasedBatchSampler(plain(), 7, 2)
    assert list(sampler) == list(sampler)


def test_nothing_left_to_do():
    assert list(IterationBasedBatchSampler(plain(), 5, 5)) == []
    beyond = IterationBasedBatchSampler(plain(), 5, 9)
    assert (list(beyond), len(beyond)) == ([], 0)


def test_no_batch_at_all_is_an_error_instead_of_an_endless_loop():
    with pytest.raises(ValueError, match="empty"):
        list(IterationBasedBatchSampler(plain(0), 5))


def test_negative_start():
    with pytest.raises(ValueError, match=r"start_iter.*0.*-1"):
        IterationBasedBatchSampler(plain(), 5, -1)


def test_batch_samplers_without_epochs_are_repeated():
    assert list(IterationBasedBatchSampler([[0], [1, 2]], 3)) == [[0], [1, 2], [0]]


def test_keys_count_iterations_of_the_whole_run():
    batches = KeyedBatchSampler(IterationBasedBatchSampler([[4, 5], [6]], 4, 1), start_iter=1)
    assert len(batches) == 3
    assert list(batches) == [
        [SampleKey(6, 1, 0)],
        [SampleKey(4, 2, 0), SampleKey(5, 2, 1)],
        [SampleKey(6, 3, 0)],
    ]
