"""Arguments of operators that are not what they should be."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.layers.op_fuzz import Source

# Not so large that memory could be had for them, and so large that products leave 64 bits.
SIZES = (-(2**62), -7, -1, 0, 1, 2, 3, 2**45, 2**62)


def _spoilt_tensor(source: Source, value: Tensor) -> Tensor:
    axis = source.size(0, max(value.dim() - 1, 0))
    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.float32, torch.complex64)
    ways: tuple[Callable[[], Tensor], ...] = (
        lambda: value[None],
        lambda: value.flatten(),
        lambda: value.sum(),
        lambda: value.new_empty(0),
        lambda: value.narrow(axis, 0, value.shape[axis] // 2) if value.dim() else value,
        lambda: torch.cat((value, value), dim=axis) if value.dim() else value,
        lambda: value.transpose(0, -1) if value.dim() else value,
        lambda: value.expand(2, *value.shape),
        lambda: value.to(source.choice(*dtypes)),
        lambda: value.nan_to_num(0, 0, 0).to(source.choice(torch.int64, torch.int32, torch.bool)),
        lambda: value.to("meta"),
    )
    return source.choice(*ways)()


def spoil(source: Source, arguments: list[Any]) -> None:
    """Replace one argument by something that it should not be, or only just may be."""
    place = source.size(0, len(arguments) - 1)
    value = arguments[place]
    if isinstance(value, Tensor):
        arguments[place] = _spoilt_tensor(source, value)
    elif isinstance(value, float):
        arguments[place] = source.choice(*source.special)
    elif isinstance(value, bool):
        arguments[place] = source.choice(None, "no", 0.5, 2)
    elif isinstance(value, int):
        arguments[place] = source.choice(*SIZES)
    elif isinstance(value, list) and any(isinstance(each, Tensor) for each in value):
        arguments[place] = source.choice([], [_spoilt_tensor(source, value[0]), *value[1:]])
    elif isinstance(value, list):
        arguments[place] = [source.choice(*SIZES), source.choice(*SIZES)][: source.size(0, 2)]
    else:
        arguments[place] = source.floats(2, 3)
