"""Batches of one group each."""

import pytest

from maskrcnn_benchmark.data.samplers import DistributedSampler, GroupedBatchSampler


def batches(order, groups, batch_size, **options):
    return list(GroupedBatchSampler(order, groups, batch_size, **options))


def test_batches_by_hand():
    groups = [0, 1, 0, 1, 1, 0, 0]
    result = batches([6, 1, 2, 0, 4, 5, 3], groups, 2)
    # Group 0 comes as 6 2 | 0 5, group 1 as 1 4 | 3; ordered by first element.
    assert result == [[6, 2], [1, 4], [0, 5], [3]]


def test_uneven_batches_can_be_dropped():
    assert batches([0, 1, 2], [0, 0, 0], 2, drop_uneven=True) == [[0, 1]]
    assert batches([0, 1, 2], [0, 0, 0], 2) == [[0, 1], [2]]


def test_one_group_gives_plain_batches():
    assert batches(range(5), [7] * 5, 2) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("seed", range(5))
def test_every_index_once_and_groups_never_mixed(seed):
    groups = [(index * index) % 3 for index in range(40)]
    sampler = GroupedBatchSampler(DistributedSampler(groups, 1, 0, seed=seed), groups, 4)
    result = list(sampler)
    assert sorted(index for batch in result for index in batch) == list(range(40))
    assert all(len({groups[index] for index in batch}) == 1 for batch in result)
    assert len(sampler) == len(result)


def test_the_epoch_reaches_the_sampler():
    sampler = GroupedBatchSampler(DistributedSampler(range(20), 1, 0), [0] * 20, 4)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_nothing_gives_no_batch():
    assert batches([], [], 4) == []


def test_batch_size_must_be_positive():
    with pytest.raises(ValueError, match=r"batch_size.*1.*0"):
        GroupedBatchSampler([0], [0], 0)
