"""What the run runs on."""

import os
import platform
import shutil
import subprocess
from importlib import metadata

import torch

from maskrcnn_benchmark.timing.machine import processor

NO_GPU = """No CUDA device: nothing was measured.
PyTorch {torch} was built for {built}; nvidia-smi {smi}.
What to do: run this on a machine with an NVIDIA GPU, its driver, nvcc (CUDA 12 or newer) and a
PyTorch 2.10 or newer that was built for CUDA, where torch.cuda.is_available() is True.
--dry-run walks through the same parts on the CPU, and measures nothing of use."""


def missing_gpu() -> str:
    """Why there is no GPU to run on, and what to do; empty if there is one."""
    if torch.cuda.is_available():
        return ""
    cuda = torch.version.cuda
    smi = f"says: {_smi('name') or 'nothing'}" if shutil.which("nvidia-smi") else "is not there"
    return NO_GPU.format(
        torch=torch.__version__, built=f"CUDA {cuda}" if cuda else "the CPU only", smi=smi
    )


def capability(device: torch.device) -> str:
    """Compute capability to build for, such as "9.0"; of the CPU the default of the build."""
    if device.type != "cuda":
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    return f"{major}.{minor}"


def facts(device: torch.device) -> dict[str, str]:
    """Card, driver and versions, by name."""
    known = {"card": "none (dry run on the CPU: the numbers mean nothing)"}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        known = {
            "card": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"{properties.multi_processor_count} multiprocessors",
            "compute capability": capability(device),
            "driver": _smi("driver_version") or "unknown",
            "clocks, MHz (SM, memory)": _smi("clocks.sm,clocks.mem") or "unknown",
        }
    return {
        **known,
        "CUDA": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
        "PyTorch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
        "Python": platform.python_version(),
        "processor": f"{processor()}, {os.cpu_count()} processors",
        "TF32 in convolutions": str(torch.backends.cudnn.conv.fp32_precision),
    }


def _smi(query: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else ""
