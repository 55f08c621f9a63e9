"""Each case in a process of its own: what is set holds for a whole process."""

import os
import platform
import subprocess
import sys

import pytest

from tests.contract.source_tree import ROOT

_OWN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GLIBC_TUNABLES")
PREPARE = "from maskrcnn_benchmark.utils.processor import prepare_process; prepare_process(); "
# Page faults of a tensor's worth of memory that is got and freed again and again.
COUNT_FAULTS = (
    "import ctypes, resource; libc = ctypes.CDLL(None); size = 64 << 20; "
    "libc.malloc.restype = ctypes.c_void_p; libc.malloc.argtypes = [ctypes.c_size_t]; "
    "libc.free.argtypes = [ctypes.c_void_p]\n"
    "def use():\n"
    "    block = libc.malloc(size); ctypes.memset(block, 1, size); libc.free(block)\n"
    "use(); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt; use(); use()\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
)
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="options of glibc")


def python(code, **environment):
    """What a new process prints, on both streams."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _OWN and not name.startswith("MALLOC_")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def test_openmp_reads_how_long_its_threads_spin():
    shown = python(f"{PREPARE}import torch", OMP_DISPLAY_ENV="VERBOSE")
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("this PyTorch has another OpenMP than GCC's")
    assert "GOMP_SPINCOUNT = '1000'" in shown


@pytest.mark.parametrize("variable", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"])
def test_what_the_user_tells_openmp_stays(variable):
    value = {"OMP_WAIT_POLICY": "active"}.get(variable, "7")
    shown = python(
        f"{PREPARE}import os; print([(n, os.environ.get(n)) for n in {_OWN[:3]}])",
        **{variable: value},
    )
    expected = [(name, value if name == variable else None) for name in _OWN[:3]]
    assert shown.strip() == str(expected)


@on_glibc
def test_freed_memory_is_kept():
    pages = (64 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert int(python(PREPARE + COUNT_FAULTS)) < pages / 10


@on_glibc
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_tells_malloc_stays(name):
    value = {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}.get(name, "131072")
    pages = (64 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert int(python(PREPARE + COUNT_FAULTS, **{name: value})) >= pages


@on_glibc
@pytest.mark.parametrize("prepare", [PREPARE, ""], ids=["kept", "as glibc has it"])
def test_what_is_freed_while_a_model_is_made_goes_back_and_is_kept_as_before_afterwards(prepare):
    pages = (64 << 20) // os.sysconf("SC_PAGE_SIZE")
    lasting = (
        "from maskrcnn_benchmark.utils.processor import lasting_memory\n"
        "with lasting_memory():\n"
        f"    exec({COUNT_FAULTS!r})\n"
    )
    inside, after = map(int, python(f"{prepare}\n{lasting}{COUNT_FAULTS}").split())
    assert inside >= pages
    assert after < pages / 10 if prepare else after >= pages


@on_glibc
def test_a_process_below_one_that_keeps_memory_keeps_none_unasked():
    pages = (64 << 20) // os.sysconf("SC_PAGE_SIZE")
    lasting = "from maskrcnn_benchmark.utils.processor import lasting_memory\n"
    lasting += f"with lasting_memory():\n    pass\n{COUNT_FAULTS}"
    below = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {lasting!r}], check=True)"
    )
    assert int(python(PREPARE + below)) >= pages
