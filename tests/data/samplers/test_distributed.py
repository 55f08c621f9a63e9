"""Which indices each process sees, and in which order."""

import pytest

from maskrcnn_benchmark.data.samplers import DistributedSampler


def shards(count, num_replicas, **options):
    return [
        DistributedSampler(range(count), num_replicas, rank, **options)
        for rank in range(num_replicas)
    ]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("num_replicas", [1, 2, 3, 8])
@pytest.mark.parametrize("shuffle", [False, True])
def test_padded_parts_are_equally_long_and_cover_everything(count, num_replicas, shuffle):
    parts = [list(shard) for shard in shards(count, num_replicas, shuffle=shuffle)]
    lengths = {len(part) for part in parts}
    assert lengths == {-(-count // num_replicas)}
    assert {index for part in parts for index in part} == set(range(count))
    assert [len(shard) for shard in shards(count, num_replicas)] == [len(part) for part in parts]


@pytest.mark.parametrize("count", [0, 1, 5, 8])
@pytest.mark.parametrize("num_replicas", [1, 3])
def test_unpadded_parts_hold_each_index_once(count, num_replicas):
    samplers = shards(count, num_replicas, shuffle=False, pad=False)
    parts = [list(sampler) for sampler in samplers]
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert [len(sampler) for sampler in samplers] == [len(part) for part in parts]


def test_order_without_shuffling_is_ascending_and_interleaved():
    assert list(DistributedSampler(range(5), 1, 0, shuffle=False)) == [0, 1, 2, 3, 4]
    first, second = shards(5, 2, shuffle=False)
    assert (list(first), list(second)) == ([0, 2, 4], [1, 3, 0])


def test_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        sampler = DistributedSampler(range(50), 1, 0, seed=seed)
        sampler.set_epoch(epoch)
        return tuple(sampler)

    assert order(3, 4) == order(3, 4)
    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


def test_a_single_process_is_the_default():
    sampler = DistributedSampler(range(4))
    assert (sampler.rank, sampler.num_replicas) == (0, 1)
    assert sorted(sampler) == [0, 1, 2, 3]


def test_rank_out_of_range():
    with pytest.raises(ValueError, match=r"rank.*\[0, 2\).*2"):
        DistributedSampler(range(4), 2, 2)
