"""Settings of a process that computes: how its threads wait, and what it does with freed memory.

Imports no PyTorch, because OpenMP reads how to wait when PyTorch loads it.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_WAITING: Final = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
"""Variables by which a user tells OpenMP how to use the processor."""
_SPIN_COUNT: Final = "1000"
"""Some ten microseconds. By default threads spin for milliseconds at the end of each parallel loop;
where another process has the core of the last thread, the others then keep it from running."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_MMAP_MAX: Final = -4
"""Numbers of options in glibc's malloc.h."""
_DEFAULT_MMAP_THRESHOLD: Final = 128 << 10
_DEFAULT_MMAP_MAX: Final = 65536
_KEEPS_MEMORY: Final = "CENTERMASK_KEEPS_MEMORY"
"""Variable with the number of the process that keeps freed memory: others inherit variables."""


def prepare_process() -> None:
    """Let this process wait briefly and keep its memory, unless its environment says otherwise.

    Threads of OpenMP go to sleep soon where they wait for one another, so that another busy process
    on the machine does not slow this one out of proportion: GOMP_SPINCOUNT is set, unless it,
    OMP_WAIT_POLICY or OMP_NUM_THREADS is. It counts only if PyTorch is imported afterwards.

    Freed memory is kept for the next tensor instead of going back to the system, which would clear
    its pages each time: glibc's M_MMAP_MAX and M_TRIM_THRESHOLD are set, unless a variable
    MALLOC_* or GLIBC_TUNABLES is. Elsewhere than with glibc nothing changes.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT
    has_own_malloc = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if platform.libc_ver()[0] == "glibc" and not has_own_malloc:
        os.environ[_KEEPS_MEMORY] = str(os.getpid())
        _keep_freed_memory()


@contextmanager
def lasting_memory() -> Iterator[None]:
    """A block whose large tensors last, as weights do, or go back to the system.

    Where freed memory is kept, what is got next is spread over all gaps between what lasts. With
    weights in memory of their own, and none left over from making them, maps follow one another and
    take half the space. In a process that keeps no freed memory nothing changes.
    """
    if os.environ.get(_KEEPS_MEMORY) != str(os.getpid()):
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _DEFAULT_MMAP_THRESHOLD)
    libc.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
    try:
        yield
    finally:
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
