"""Counts the calls in which Python would wait for a GPU, on a machine that has none.

A program stays ahead of a GPU until it asks for a number that the GPU has yet to compute: how many
elements pass a test, what a scalar is, whether two tensors are equal; or until it sends numbers
over from ordinary memory. On a device PyTorch counts them itself: ``counted_by_pytorch``.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operators whose result has a size, or is a number, that only the data tell.
DATA_DEPENDENT = {
    "_local_scalar_dense",
    "_unique2",
    "argwhere",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "scores_above",
    "unique_consecutive",
    "unique_dim",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Calls from Python that copy: to the CPU, or Python's numbers to the device. On the CPU, where
# tests run, PyTorch makes no operator of them.
COPIES = {"cpu", "numpy", "tolist", "new_tensor", "tensor"}


class WaitCounter(TorchDispatchMode):
    """Operators that wait, by name, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in DATA_DEPENDENT:
            self.waits[name] += 1
        elif name in INDEXING and any(map(_is_mask, args[1])) and not _fills(name, args):
            self.waits[f"{name} by a mask"] += 1
        return func(*args, **(kwargs or {}))


class CopyCounter(TorchFunctionMode):
    """Calls that copy between devices, by name, while it is entered."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        from_numbers = name == "as_tensor" and not isinstance(args[0], Tensor)
        to_the_cpu = name == "to" and _names_the_cpu(args, kwargs)
        if name in COPIES or from_numbers or to_the_cpu:
            self.waits[name] += 1
        return func(*args, **kwargs)


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _fills(name: str, args: Any) -> bool:
    # One value at the places of a mask is written without counting them.
    return name != "index" and args[2].numel() == 1


def _names_the_cpu(args: Any, kwargs: Any) -> bool:
    words = [*args[1:], *kwargs.values()]
    return any(
        isinstance(word, (str, torch.device)) and torch.device(word).type == "cpu" for word in words
    )


def counted(work: Callable[[], object]) -> Counter[str]:
    """Calls in ``work`` that would wait for a GPU, by name; it runs on the CPU."""
    with WaitCounter() as counter, CopyCounter(counter.waits):
        work()
    return counter.waits


def counted_by_pytorch(work: Callable[[], object]) -> int:
    """How often ``work`` waits for the GPU that it uses."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing CUDA operation" in str(one.message) for one in caught)
