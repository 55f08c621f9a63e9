"""What every test starts from: seeded generators, no window system, GPU tests only with a GPU.

PyTorch is seeded once a test has imported it, so that tests that only read files start at once.
"""

import os
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest

os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every test, in whatever order and selection tests run."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that draw from the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """As many threads after a test as before it: their number moves the last bits of results."""
    torch = sys.modules.get("torch")
    threads = torch and torch.get_num_threads()
    yield
    if torch and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that are marked ``gpu`` on machines without one, and say so."""
    need_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not need_gpu or sys.modules["torch"].cuda.is_available():
        return
    for item in need_gpu:
        item.add_marker(pytest.mark.skip(reason="no CUDA device"))
