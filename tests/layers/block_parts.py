"""Weights of inverted residual blocks at random."""

import torch

from tests.layers.op_cases.case import seeded


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


def weights(channels, between, outputs):
    """Weights and what is added of the three convolutions."""
    return (
        (drawn(between, channels, 1, 1, seed=1) / channels**0.5, drawn(between, seed=2)),
        (drawn(between, 1, 3, 3, seed=3) / 3, drawn(between, seed=4)),
        (drawn(outputs, between, 1, 1, seed=5) / between**0.5, drawn(outputs, seed=6)),
    )
