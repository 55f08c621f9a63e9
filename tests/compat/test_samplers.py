"""Batches that the samplers give, as scripts and tests written for the original expect them."""

import pytest
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from maskrcnn_benchmark.data.samplers import (
    DistributedSampler,
    GroupedBatchSampler,
    IterationBasedBatchSampler,
)

GROUPS = [0, 0, 1, 0, 1, 1, 0, 1, 1, 0]
IN_ORDER = list(range(10))
SOME = [0, 3, 5, 6, 7, 8]
MIXED = [5, 0, 6, 1, 3, 8]


@pytest.mark.parametrize(
    ("order", "batch_size", "drop_uneven", "expected"),
    [
        (IN_ORDER, 1, False, [[index] for index in IN_ORDER]),
        (IN_ORDER, 3, False, [[0, 1, 3], [2, 4, 5], [6, 9], [7, 8]]),
        (IN_ORDER, 4, False, [[0, 1, 3, 6], [2, 4, 5, 7], [8], [9]]),
        (IN_ORDER, 3, True, [[0, 1, 3], [2, 4, 5]]),
        (IN_ORDER, 4, True, [[0, 1, 3, 6], [2, 4, 5, 7]]),
        (SOME, 3, False, [[0, 3, 6], [5, 7, 8]]),
        (SOME, 4, False, [[0, 3, 6], [5, 7, 8]]),
        (MIXED, 3, False, [[5, 8], [0, 6, 1], [3]]),
        (MIXED, 4, False, [[5, 8], [0, 6, 1, 3]]),
        (MIXED, 3, True, [[0, 6, 1]]),
        (MIXED, 4, True, [[0, 6, 1, 3]]),
    ],
)
def test_groups_keep_the_order_of_the_sampler(order, batch_size, drop_uneven, expected):
    batches = GroupedBatchSampler(order, GROUPS, batch_size, drop_uneven)
    assert list(batches) == expected
    assert len(batches) == len(expected)


def test_the_length_of_groups_holds_whatever_the_order():
    batches = GroupedBatchSampler(RandomSampler(IN_ORDER), GROUPS, 3, True)
    assert len(batches) == len(list(batches)) == len(batches) == 2


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("batch_size", "num_iterations"), [(2, 4), (3, 10), (4, 20)])
def test_iterations_go_through_the_data_again_and_again(batch_size, num_iterations, drop_last):
    batches = BatchSampler(SequentialSampler(IN_ORDER), batch_size, drop_last=drop_last)
    sampler = IterationBasedBatchSampler(batches, num_iterations)
    served = list(sampler)
    assert len(sampler) == len(served) == num_iterations
    for iteration, batch in enumerate(served):
        start = iteration % len(batches) * batch_size
        assert batch == IN_ORDER[start : start + batch_size]


def test_processes_know_their_share_and_the_whole():
    samplers = [DistributedSampler(IN_ORDER, 3, rank, False) for rank in range(3)]
    assert [(len(each), each.num_samples, each.total_size) for each in samplers] == [(4, 4, 12)] * 3
    assert {index for each in samplers for index in each} == set(IN_ORDER)
