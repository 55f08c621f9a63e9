"""What every test starts from: seeded generators, no window system, GPU tests only with a GPU."""

import random

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every test, in whatever order and selection tests run."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that draw from the global generator
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that are marked `gpu` on machines without one, and say so."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
