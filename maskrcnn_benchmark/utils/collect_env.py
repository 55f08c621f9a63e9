"""What this program runs on, in plain words: ``python -m maskrcnn_benchmark.utils.collect_env``."""

import os
import platform
import sys
from importlib import metadata

import torch

from maskrcnn_benchmark import __version__
from maskrcnn_benchmark.layers import BuildRecord, OpsStatus, ops_status

_PACKAGES = (
    "torchvision",
    "numpy",
    "yacs",
    "pycocotools",
    "hotcoco",
    "opencv-python-headless",
    "pillow",
    "matplotlib",
)


def collect_env_info() -> str:
    """Several lines: versions, processor, CUDA devices, and which operators run and why."""
    facts = {
        "centermask": __version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.platform()}, {os.cpu_count()} processors",
        "PyTorch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "CUDA": describe_cuda(),
        "operators": describe_operators(ops_status()),
        "kernels": describe_kernels(ops_status()),
        "registers": describe_registers(ops_status()),
        "their build": describe_build(ops_status().build),
        **{package: _version(package) for package in _PACKAGES},
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())


def describe_cuda() -> str:
    """The CUDA devices that PyTorch can use, or why it has none."""
    built_for: str | None = torch.version.cuda
    if built_for is None:
        return "not available: this PyTorch was built for the CPU"
    if not torch.cuda.is_available():
        return f"not available: PyTorch was built for CUDA {built_for}, but finds no device"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{built_for}, {len(names)} device(s): {', '.join(names)}"


def describe_operators(status: OpsStatus) -> str:
    """Which operators run on the CPU and on CUDA, and why."""
    if not status.compiled:
        return f"plain PyTorch on every device, correct but slower: {status.reason}"
    if status.cuda:
        return f"CPU compiled, CUDA compiled ({status.library}: {status.reason})"
    return f"CPU compiled ({status.library}), CUDA plain PyTorch: {status.cuda_reason}"


def describe_kernels(status: OpsStatus) -> str:
    """Each operator with the devices that it is compiled for."""
    if not status.kernels:
        return "none"
    devices = {name: ", ".join(where) or "plain PyTorch" for name, where in status.kernels.items()}
    return "; ".join(f"{name}: {where}" for name, where in devices.items())


def describe_registers(status: OpsStatus) -> str:
    """What the kernels for the CPU compute in, and what follows if that is little."""
    if status.register_bytes:
        return f"{status.register_bytes} bytes"
    return "less than 32 bytes: convolutions are PyTorch's"


def describe_build(build: BuildRecord | None) -> str:
    """How the operators were built, and why not all of them."""
    if build is None:
        return "unknown: no record of it was found"
    text = f"CENTERMASK_BUILD={build.mode}"
    if build.torch is not None:
        text += f", against PyTorch {build.torch}, for {' and '.join(build.devices)}"
    if build.archs:
        text += f" (compute capabilities {', '.join(build.archs)})"
    if build.processor:
        text += f", for processors with {build.processor[-1]} alone"
    return f"{text}; left out: {build.missing}" if build.missing else text


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Write the information to standard output."""
    sys.stdout.write(f"{collect_env_info()}\n")


if __name__ == "__main__":
    main()
