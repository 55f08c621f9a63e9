"""Running a function in two processes that talk over Gloo."""

import warnings

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _worker(rank, function, folder, args):
    warnings.simplefilter("error")
    # pycocotools does not know NumPy 2 yet.
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        torch.save(function(rank, *args), folder / f"result{rank}.pt")
        # Gloo aborts a process whose peer has left while its threads still listen.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def in_two_processes(function, folder, *args):
    """What ``function(rank, *args)`` returned in each; tensors, numbers, texts and containers."""
    folder.mkdir(exist_ok=True)
    mp.start_processes(_worker, args=(function, folder, args), nprocs=2, start_method="spawn")
    return [torch.load(folder / f"result{rank}.pt", weights_only=True) for rank in range(2)]
