"""The machine that times are of."""

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path

import cv2
import torch


def processor() -> str:
    """Name of the processor, family and model, as names hide them, and its widest instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {
        key.strip(): value.strip() for key, _, value in (each.partition(":") for each in lines)
    }
    words = [facts.get("model name", platform.machine())]
    if "cpu family" in facts:
        words.append(f"family {facts['cpu family']} model {facts['model']}")
    return ", ".join([*words, torch.backends.cpu.get_cpu_capability()])


def circumstances() -> str:
    """Machine, versions and date."""
    return (
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, {processor()}, "
        f"{os.cpu_count()} processors; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "pycocotools"))
        + "."
    )


def load() -> str:
    """How busy the machine is."""
    return f"load average {os.getloadavg()[0]:.1f}"


def set_threads(number: int) -> None:
    """Let PyTorch and OpenCV compute with so many threads from now on."""
    torch.set_num_threads(number)
    cv2.setNumThreads(number)
