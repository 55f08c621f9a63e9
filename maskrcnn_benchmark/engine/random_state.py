"""The random generators of one process: seeding, saving, restoring."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

RandomState = dict[str, Any]


def seed_everything(seed: int) -> None:
    """Seed (0 to 2**32 - 1) Python, NumPy and PyTorch (all devices) of this process."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # other people's transforms draw from the global generator
    torch.manual_seed(seed)


def capture_random_state() -> RandomState:
    """The state of those generators as plain numbers, tuples and tensors.

    So ``torch.load(weights_only=True)`` accepts it. With CUDA it has the current device's state.
    """
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002  # see seed_everything
    state: RandomState = {
        "python": random.getstate(),
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: RandomState) -> None:
    """Put the generators back to where ``capture_random_state`` found them.

    A state that was saved without CUDA leaves CUDA's generator as it is, and the other way round.
    """
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    numpy_state = state["numpy"]
    key = numpy_state["key"].numpy().astype(np.uint32)
    legacy = ("MT19937", key, numpy_state["pos"], numpy_state["has_gauss"], numpy_state["gauss"])
    np.random.set_state(legacy)  # noqa: NPY002  # see seed_everything
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """A block whose random draws the code after it does not notice."""
    state = capture_random_state()
    try:
        yield
    finally:
        restore_random_state(state)
