"""Talking between the processes of one training run.

Every function also works in a single process without ``torch.distributed``, where it does
nothing or returns its argument.
"""

from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes in this run, 1 without ``torch.distributed``."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Number of this process in ``0 .. get_world_size() - 1``."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Whether this process is the one that writes files and logs (rank 0)."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == "nccl":
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


def all_gather(data: T) -> list[T]:
    """The ``data`` of every process, in order of rank, on every process; anything that pickles."""
    world_size = get_world_size()
    if world_size == 1:
        return [data]
    gathered: list[T | None] = [None] * world_size
    dist.all_gather_object(gathered, data)
    return gathered  # type: ignore[return-value]  # every slot is filled now


def gather_rows(values: Tensor) -> Tensor:
    """The ``values`` (K,) of all P processes as rows (P, K) in order of rank, on every process.

    Cheaper than ``all_gather`` for numbers; nothing flows back through the result.
    """
    values = values.detach()
    if get_world_size() == 1:
        return values[None]
    rows = [torch.empty_like(values) for _ in range(get_world_size())]
    dist.all_gather(rows, values)
    return torch.stack(rows)


def reduce_dict(input_dict: Mapping[str, Tensor], average: bool = True) -> dict[str, Tensor]:
    """The mean (or sum) over the processes of each scalar tensor; valid on rank 0 only.

    All processes must call this with the same keys. Nothing flows back through the result.
    """
    if get_world_size() == 1 or not input_dict:
        return {name: value.detach() for name, value in input_dict.items()}
    # Sorted, because processes may have filled their dictionaries in different orders.
    names = sorted(input_dict)
    values = torch.stack([input_dict[name].detach().float() for name in names])
    dist.reduce(values, dst=0)
    if average and is_main_process():
        values = values / get_world_size()
    return dict(zip(names, values.unbind(0), strict=True))
