"""Seeds that depend on nothing but named numbers, so that a run can be continued anywhere."""

import hashlib
from typing import NamedTuple


class SampleKey(NamedTuple):
    """What a sample of a training batch depends on, besides the settings.

    Attributes:
        dataset_index: position in the data set.
        iteration: number of the batch in the training run, from 0.
        position: place in the batch of this process, from 0.
    """

    dataset_index: int
    iteration: int
    position: int


def mix_seed(*parts: int) -> int:
    """A seed in [0, 2^63) that differs for different ``parts``, the same on every machine.

    Unlike a sum, (seed 0, epoch 1) and (seed 1, epoch 0) have nothing in common.
    """
    text = ",".join(str(int(part)) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
