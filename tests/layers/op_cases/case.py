"""What a case is, and how it is run."""

import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from tests.layers.twins import TWINS

DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class OpCase:
    """A call whose result the plain PyTorch twin knows.

    Args:
        name: names it in test ids, unique for its operator.
        operator: name under torch.ops.<namespace>.
        arguments: element type -> arguments, on the CPU, the same ones at every call.
        tolerance: largest difference, relative and absolute, in units of the type's epsilon;
            0: equal bit for bit, NaN included.
        expected: element type -> result, where the twin does not know it.
    """

    name: str
    operator: str
    arguments: Callable[[torch.dtype], tuple[Any, ...]]
    tolerance: float = 0.0
    expected: Callable[[torch.dtype], Any] | None = None

    def __str__(self) -> str:
        return f"{self.operator}-{self.name}"


@dataclass(frozen=True)
class Refusal:
    """A call that raises RuntimeError with one clean message."""

    name: str
    operator: str
    arguments: Callable[[], tuple[Any, ...]]
    message: str

    def __str__(self) -> str:
        return f"{self.operator}-{self.name}"


def _moved(argument: Any, device: str) -> Any:
    return tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, argument)


def run_case(case: OpCase, namespace: str, dtype: torch.dtype, device: str = "cpu") -> None:
    """Compare an implementation with the plain PyTorch twin.

    Raises:
        AssertionError: the results differ.
    """
    arguments = case.arguments(dtype)
    twin = getattr(TWINS, case.operator)
    expected = case.expected(dtype) if case.expected else twin(*arguments)
    operator = getattr(getattr(torch.ops, namespace), case.operator)
    actual = operator(*(_moved(argument, device) for argument in arguments))
    # Some operators know one type alone.
    is_of_type = any(isinstance(x, Tensor) and x.dtype == dtype for x in tree_leaves(arguments))
    bound = case.tolerance * torch.finfo(dtype if is_of_type else torch.float32).eps
    torch.testing.assert_close(
        actual, expected, rtol=bound, atol=bound, equal_nan=True, check_device=False
    )


def run_refusal(refusal: Refusal, namespace: str, device: str = "cpu") -> None:
    """Check that an implementation refuses the call and says why.

    Raises:
        AssertionError: no error, or another message.
    """
    operator = getattr(getattr(torch.ops, namespace), refusal.operator)
    arguments = [_moved(argument, device) for argument in refusal.arguments()]
    with pytest.raises(RuntimeError) as caught:
        operator(*arguments)
    assert re.search(refusal.message, str(caught.value)), str(caught.value)


def seeded(seed: int) -> torch.Generator:
    """A generator that draws the same numbers at every call."""
    return torch.Generator().manual_seed(seed)


def far_apart(values: Tensor, axis: int, distance: int = 2**31) -> Tensor:
    """The values, so that neighbours along ``axis`` are ``distance`` elements from each other.

    What lies between them is a hole in a file, which takes no space.
    """
    last = (values.shape[axis] - 1) * distance + values.numel()
    size = last * values.element_size()
    with TemporaryFile() as file:
        file.truncate(size)
        memory = torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=values.dtype)
    strides = list(values.stride())
    strides[axis] = distance
    return memory.as_strided(values.shape, strides).copy_(values)
