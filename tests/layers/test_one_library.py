"""The compiled library loads in every PyTorch: it needs, and shows, nothing else.

``make test-abi`` runs this and the other tests of the operators in an environment with another
PyTorch, which CENTERMASK_ABI_TORCH names, and the library of this folder as it is.
"""

import ctypes
import os
import re
import shutil
import subprocess

import pytest
import torch

from maskrcnn_benchmark.layers import ops_status
from maskrcnn_benchmark.layers._ops.library import find_library

OTHER_TORCH = os.environ.get("CENTERMASK_ABI_TORCH")
EVERYWHERE = {"libc", "libm", "libgcc_s", "libstdc++", "ld-linux-x86-64", "ld-linux-aarch64"}

needs_library = pytest.mark.skipif(find_library() is None, reason="no library was built")
needs_readelf = pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf here")
in_another_torch = pytest.mark.skipif(OTHER_TORCH is None, reason="run by make test-abi")


def readelf(*options):
    command = ["readelf", "--wide", *options, str(find_library())]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_library
@needs_readelf
def test_needs_no_library_that_only_some_builds_of_pytorch_have():
    needed = set(re.findall(r"\(NEEDED\).*\[([^\].]*)", readelf("--dynamic")))
    assert needed - EVERYWHERE <= {"libtorch_cpu", "libc10"}
    assert "RUNPATH" not in readelf("--dynamic")


@needs_library
@needs_readelf
def test_shows_and_asks_for_nothing_of_cudas_runtime():
    symbols = readelf("--dyn-syms")
    assert not re.findall(r"\b(?:cuda|cu[A-Z]|__cuda)\w+", symbols)


@pytest.mark.skipif(torch.version.cuda is None, reason="this PyTorch was built for the CPU only")
def test_pytorch_tells_the_current_stream_where_the_kernels_ask():
    # csrc/cuda_launch.h: only in a library of this name that is loaded already.
    library = ctypes.CDLL("libtorch_cuda.so", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    assert hasattr(library, "aoti_torch_get_current_cuda_stream")


@in_another_torch
def test_this_is_the_other_torch():
    assert torch.__version__.split("+")[0] == OTHER_TORCH


@in_another_torch
@needs_library
def test_the_library_of_another_torch_is_loaded_or_the_reason_is_clear():
    status = ops_status()
    assert status.build is not None
    assert status.build.torch != torch.__version__
    with_cuda = "cuda" in status.build.devices
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10):
        assert not status.compiled
        assert "is older than" in status.reason
        return
    assert status.compiled
    # Its CUDA kernels are registered, even where PyTorch itself has no CUDA.
    assert status.cuda == with_cuda
    for name, devices in status.kernels.items():
        assert "cpu" in devices, name
