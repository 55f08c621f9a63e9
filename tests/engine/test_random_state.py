import io
import random

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.engine.random_state import (
    capture_random_state,
    preserved_random_state,
    restore_random_state,
    seed_everything,
)


def draw():
    """One number of each generator; NumPy's and Python's normal draws come in pairs."""
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),  # noqa: NPY002  # the global generator is what is tested
        np.random.randn(),  # noqa: NPY002
        torch.rand(3).tolist(),
    )


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


def test_seeds_decide_every_generator():
    seed_everything(5)
    first = draw()
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert all(one != other for one, other in zip(draw(), first, strict=True))


def test_a_state_survives_a_safe_checkpoint():
    draw()
    file = io.BytesIO()
    torch.save({"rng_state": [capture_random_state()]}, file)
    expected = [draw(), draw()]
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True)["rng_state"][0])
    assert [draw(), draw()] == expected


def test_a_state_with_another_device_restores_the_rest():
    state = capture_random_state()
    state.pop("cuda", None)
    expected = draw()
    restore_random_state(state)
    assert draw() == expected


def test_a_block_leaves_no_trace_even_if_it_fails():
    seed_everything(1)
    expected = draw()
    seed_everything(1)
    with pytest.raises(TypeError), preserved_random_state():
        len(draw()[0])
    assert draw() == expected
