"""Arguments of operators' functions and modules: checks, whose errors name them, and their text."""

import math
from collections.abc import Sequence
from inspect import signature

import torch
from torch import Tensor, nn


def check_tensors(**tensors: Tensor | None) -> None:
    """Raise unless all that are not None are tensors, and on the device of the first.

    Raises:
        TypeError: something else, such as a list.
        ValueError: another device.
    """
    first = next(iter(tensors))
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        device = getattr(tensors[first], "device", tensor.device)
        if tensor.device != device:
            raise ValueError(
                f"{name}: expected the device of {first}, {device}, got {tensor.device}"
            )


def check_floating(**tensors: Tensor | None) -> None:
    """Raise ValueError unless all that are not None hold real floating point numbers."""
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f"{name}: expected floating point numbers, got {tensor.dtype}")


def check_integers(**tensors: Tensor) -> None:
    """Raise ValueError unless all hold integers, or nothing: an empty list becomes floating."""
    for name, tensor in tensors.items():
        others = tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
        if others and tensor.numel():
            raise ValueError(f"{name}: expected integers, got {tensor.dtype}")


def check_has_values(**tensors: Tensor) -> None:
    """Raise ValueError if one is on the device "meta": nothing could be read from it."""
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ValueError(f"{name}: expected a tensor with values, got one on meta")


def check_shape(name: str, tensor: Tensor, sides: Sequence[int | str | None]) -> None:
    """Raise ValueError unless the tensor has these sides; None, or its name, is any length."""
    fits = tensor.dim() == len(sides) and all(
        side is None or isinstance(side, str) or size == side
        for size, side in zip(tensor.shape, sides, strict=True)
    )
    if not fits:
        texts = ("*" if side is None else str(side) for side in sides)
        wanted = ", ".join(texts) + ("," if len(sides) == 1 else "")
        raise ValueError(f"{name}: expected shape ({wanted}), got {tuple(tensor.shape)}")


def check_spatial_scale(spatial_scale: float) -> None:
    """Raise ValueError unless it is a positive number and finite."""
    if not 0 < spatial_scale < math.inf:
        raise ValueError(f"spatial_scale: expected a positive number, got {spatial_scale}")


def as_pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """The number twice, or the two as they are.

    Args:
        value: the argument.
        name: its name, for the error.

    Raises:
        ValueError: neither a whole number nor two.
    """
    whole = (int, torch.SymInt)
    if isinstance(value, whole):
        return value, value
    pair = tuple(value) if isinstance(value, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(each, whole) for each in pair):
        raise ValueError(f"{name}: expected a whole number or two, got {value!r}")
    return pair[0], pair[1]


class ShowsArguments(nn.Module):
    """A module that prints the arguments it was made with; it keeps them under their names."""

    def extra_repr(self) -> str:
        """Arguments, for printing the module."""
        names = signature(type(self)).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
