"""The emulated CUDA kernels as torch.ops.<namespace>, and what can be chosen about how they run."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from tests.emu.build import Variant, build


class Order(NamedTuple):
    """In which order threads of a block, and blocks of a grid, have their turn."""

    name: str
    kind: int
    seed: int = 0


ORDERS = (Order("forward", 0), Order("reverse", 1), Order("shuffled", 2, 1), Order("again", 2, 2))


@cache
def loaded(library: Path) -> ctypes.CDLL:
    """The library, its operators registered."""
    torch.ops.load_library(library)
    emulation = ctypes.CDLL(str(library))
    emulation.emu_control.argtypes = [ctypes.c_int64, ctypes.c_uint64, ctypes.c_int64]
    return emulation


@contextmanager
def emulated(variant: Variant, order: Order = ORDERS[0], last_blocks: int = 0) -> Iterator[str]:
    """Namespace under torch.ops; memory that kernels do not write shows up as NaN meanwhile.

    Args:
        variant: how the sources are compiled.
        order: of threads and blocks.
        last_blocks: how many blocks of each grid to run, the last ones; 0: all.
    """
    control = loaded(build(variant)).emu_control
    control(order.kind, order.seed, last_blocks)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield variant.namespace
    finally:
        torch.use_deterministic_algorithms(deterministic)
        control(ORDERS[0].kind, 0, 0)
