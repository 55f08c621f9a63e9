"""mix_seed keeps different circumstances apart."""

from itertools import product

from maskrcnn_benchmark.data.samplers import mix_seed


def test_seeds_are_fixed_for_ever():
    """Changing these numbers would change every training run: it needs a changelog entry."""
    assert mix_seed(0) == 4761921975702974394
    assert mix_seed(0, 1, 2, 3) == 1612513367417538615


def test_seeds_differ_and_fit_torch():
    seeds = {mix_seed(*parts) for parts in product(range(8), repeat=3)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix_seed(1, 23) != mix_seed(12, 3)
    assert mix_seed(0, 1) != mix_seed(1, 0)
