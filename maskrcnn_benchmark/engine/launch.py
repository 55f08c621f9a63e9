"""How a tool's process starts: its device, its place among the other processes, its log."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.exits import log_exit
from maskrcnn_benchmark.engine.random_state import seed_everything
from maskrcnn_benchmark.engine.settings import make_paths_full, make_settings_final
from maskrcnn_benchmark.utils.collect_env import collect_env_info
from maskrcnn_benchmark.utils.comm import synchronize
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessPlace:
    """Where this process stands among those of its run.

    ``rank`` counts over all machines, ``local_rank`` on this one.
    """

    rank: int
    local_rank: int
    world_size: int

    @property
    def is_distributed(self) -> bool:
        """Whether there are other processes."""
        return self.world_size > 1

    @classmethod
    def from_environment(cls, local_rank: int | None) -> ProcessPlace:
        """The place that ``torchrun`` or ``torch.distributed.launch`` gave this process.

        Both set WORLD_SIZE, RANK and LOCAL_RANK; without them this is the only process.
        ``local_rank``, which the tool's ``--local-rank`` says, counts if LOCAL_RANK is unset.
        """
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            local_rank=int(os.environ.get("LOCAL_RANK", local_rank or 0)),
            world_size=world_size,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A process that is ready to work: its device and its place."""

    device: torch.device
    place: ProcessPlace


def select_device(requested: str, place: ProcessPlace) -> torch.device:
    """The device for ``MODEL.DEVICE``: with CUDA, each process of a machine gets its own.

    On a machine without any CUDA device, "cuda" (the default of every configuration) becomes the
    CPU, with a warning; "cuda:N" does not.

    Raises:
        ConfigError: another device than "cpu", "cuda" and "cuda:N", or one that is not there.
    """
    try:
        device = torch.device(requested)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"MODEL.DEVICE: expected 'cpu', 'cuda' or 'cuda:N', got {requested!r}")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        if ":" in requested:
            raise ConfigError(f"MODEL.DEVICE: {requested!r} was asked for, there is no CUDA device")
        logger.warning(
            "MODEL.DEVICE is %r, but PyTorch %s finds no CUDA device: WORKING ON THE CPU, which "
            "is much slower. Say MODEL.DEVICE cpu to mean it.",
            requested,
            torch.__version__,
        )
        return torch.device("cpu")
    return _cuda_device(device, place)


def _cuda_device(device: torch.device, place: ProcessPlace) -> torch.device:
    num_devices = torch.cuda.device_count()
    if place.is_distributed and device.index is not None:
        raise ConfigError(
            f"MODEL.DEVICE: expected 'cuda' with {place.world_size} processes, each of which takes "
            f"the device of its local rank, got '{device}'"
        )
    index = device.index if device.index is not None else place.local_rank
    if index >= num_devices:
        raise ConfigError(
            f"MODEL.DEVICE: cuda:{index} was asked for (local rank {place.local_rank}), but there "
            f"are {num_devices} CUDA devices; start at most one process per device"
        )
    return torch.device("cuda", index)


@contextmanager
def process_group(device: torch.device, place: ProcessPlace) -> Iterator[None]:
    """A block in which ``utils.comm`` reaches the other processes: NCCL for CUDA, Gloo for CPU."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not place.is_distributed:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", init_method="env://")
    yield
    # Not after an error: leaving a group waits for collectives that others may never finish. All
    # leave together: Gloo ends with an abort (SIGABRT) where a process closes its connections
    # while another still uses them.
    synchronize()
    dist.destroy_process_group()


@contextmanager
def make_run(cfg: CfgNode, local_rank: int | None = None) -> Iterator[Run]:
    """A block for a tool's work, with log, device, process group and seeds ready.

    Settings that MODEL.WEIGHT needs are set; then all are frozen and go into the log. All processes
    have the same seed here, so that they make the same model.

    Raises:
        ConfigError: the device is not there, or given settings contradict MODEL.WEIGHT.
    """
    setup_environment()
    place = ProcessPlace.from_environment(local_rank)
    make_paths_full(cfg)
    setup_logger(PACKAGE_LOGGER, cfg.OUTPUT_DIR, place.rank)
    with log_exit():
        make_settings_final(cfg)
        device = select_device(cfg.MODEL.DEVICE, place)
        with process_group(device, place):
            if place.rank == 0:
                logger.info("%s", collect_env_info())
                logger.info("settings:\n%s", cfg)
            logger.info("%d process(es), this one on %s", place.world_size, device)
            seed_everything(cfg.SEED)
            yield Run(device, place)
