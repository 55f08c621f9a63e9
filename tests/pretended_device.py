"""A device that computes on the CPU, but takes no tensors of the CPU: PyTorch calls it "lazy".

A program that mixes tensors of two devices fails on a GPU alone. Here it fails everywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("lazy")
_AUTOCAST = torch.autocast
# Operators that may take tensors of two devices.
COPIES = {"copy_", "_to_copy", "set_data"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class DeviceTensor(Tensor):
    """A tensor of the device, whose values are in ``values`` on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "DeviceTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
            requires_grad=values.requires_grad,
        )
        made.values = values
        return made

    def __repr__(self) -> str:
        return f"DeviceTensor({self.values})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class DeviceMode(TorchDispatchMode):
    """While it is entered the device exists."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of an operator, on the device where its arguments are.

    Raises:
        RuntimeError: they are on two.
    """
    name = func.overloadpacket.__name__
    leaves = pytree.tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
    # Numbers may come from the CPU, and so may indices.
    here = [t for t in tensors if not isinstance(t, DeviceTensor) and t.dim() > 0]
    if name in INDEXING:
        here = [t for t in (args[0], *args[2:3]) if isinstance(t, Tensor) and t.dim() > 0]
        here = [t for t in here if not isinstance(t, DeviceTensor)]
    if there and here and name not in COPIES:
        shapes = [tuple(t.shape) for t in here]
        raise RuntimeError(f"{func}: tensors of two devices, of the CPU those of shapes {shapes}")
    wanted = kwargs.get("device")
    on_device = bool(there) if wanted is None else torch.device(wanted) == DEVICE
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    plain_args, plain_kwargs = pytree.tree_map_only(
        DeviceTensor, lambda tensor: tensor.values, (args, kwargs)
    )
    result = func(*plain_args, **plain_kwargs)
    if name == "copy_":
        return args[0]
    changed = {id(tensor.values): tensor for tensor in there}

    def wrapped(value: Tensor) -> Tensor:
        if id(value) in changed:
            return changed[id(value)]
        return DeviceTensor(value) if on_device and not isinstance(value, DeviceTensor) else value

    return pytree.tree_map_only(Tensor, wrapped, result)


class NumberMode(TorchFunctionMode):
    """While it is entered, numbers come and go: PyTorch makes no operator of lists."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist:
            return args[0].cpu().tolist()
        if func not in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)
        if func is Tensor.new_tensor:
            like, *args = args
            device = device or like.device
            kwargs.setdefault("dtype", like.dtype)
        elif device is None and isinstance(args[0], Tensor):
            device = args[0].device
        made = args[0] if isinstance(args[0], Tensor) else torch.tensor(*args, **kwargs)
        return made.to(device or "cpu", kwargs.get("dtype") or made.dtype)


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
    return _AUTOCAST("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """A block in which the device exists."""
    # Parameters are replaced by others when they are moved or converted: what is behind one of
    # these tensors cannot be exchanged.
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        # PyTorch knows what it computes in which type for devices of its own alone.
        with DeviceMode(), NumberMode(), patch.object(torch, "autocast", _autocast):
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
