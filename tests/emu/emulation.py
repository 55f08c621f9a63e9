"""The emulated CUDA kernels as torch.ops.<namespace>, and what can be chosen about how they run."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch


class Order(NamedTuple):
    """In which order threads of a block, and blocks of a grid, have their turn."""

    name: str
    kind: int
    seed: int = 0


ORDERS = (Order("forward", 0), Order("reverse", 1), Order("shuffled", 2, 1), Order("again", 2, 2))


@cache
def load(library: Path) -> ctypes.CDLL:
    """The library, its operators registered."""
    torch.ops.load_library(library)
    emulation = ctypes.CDLL(str(library))
    if hasattr(emulation, "emu_control"):
        emulation.emu_control.argtypes = [ctypes.c_int64, ctypes.c_uint64]
        for name in ("emu_grid_begin", "emu_grid_stride"):
            function = getattr(emulation, name)
            function.argtypes = [ctypes.c_uint32] * 3
            function.restype = ctypes.c_int64
    return emulation


@contextmanager
def undefined_is_nan() -> Iterator[None]:
    """Memory that kernels do not write shows up as NaN or as the largest integer."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def running(library: Path, order: Order = ORDERS[0]) -> Iterator[ctypes.CDLL]:
    """The library while its kernels run in this order, or nothing special for CPU kernels."""
    emulation = load(library)
    control = getattr(emulation, "emu_control", lambda *_: None)
    control(order.kind, order.seed)
    try:
        with undefined_is_nan():
            yield emulation
    finally:
        control(ORDERS[0].kind, 0)
