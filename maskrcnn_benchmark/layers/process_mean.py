"""A mean over the processes of a distributed training."""

import torch.distributed as dist
from torch import Tensor


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of ``values`` over all processes, the same on each; of one process, its own.

    Nothing flows back through it. All processes must call it alike.
    """
    values = values.detach().clone()
    if not (dist.is_available() and dist.is_initialized()):
        return values
    dist.all_reduce(values)
    return values / dist.get_world_size()
