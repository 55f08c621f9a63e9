"""The gate for CUDA sources, csrc/check_cuda.py: what it reads, and that it can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "csrc"))
import check_cuda  # noqa: E402 - lies in csrc/
import toolchain  # noqa: E402

PRINTED = """
ptxas info    : 28 bytes gmem, 224 bytes cmem[4]
ptxas info    : Compiling entry function '_Z4poolIdEvPKT_' for 'sm_80'
ptxas info    : Function properties for _Z4poolIdEvPKT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 68 registers, used 1 barriers, 3072 bytes smem, 488 bytes cmem[0]
ptxas info    : Compile time = 1051.295 ms
ptxas info    : Compiling entry function '_Z4poolIfEvPKT_' for 'sm_90'
ptxas info    : Function properties for _Z4poolIfEvPKT_
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 16 bytes cumulative stack size, 24 bytes lmem
"""

BAD_KERNEL = """
__global__ void local_array(const int* indices, float* output) {
  float values[32] = {};
  for (int i = 0; i < 99; ++i) values[indices[i] % 32] += output[i];
  for (int i = 0; i < 32; ++i) output[i] = values[i];
}
"""
WARNING = "__global__ void idle() { int unused = 3; }\n"
GOOD_KERNEL = "__global__ void twice(float* values) { values[threadIdx.x] *= 2.0f; }\n"


def nvcc_obstacle():
    try:
        toolchain.find_nvcc(toolchain.find_torch())
    except toolchain.Obstacle as obstacle:
        return str(obstacle)
    return ""


def run(*sources):
    script = ROOT / "csrc" / "check_cuda.py"
    # A copy beside the sources, so that its objects do not meet those of another run.
    for name in ("check_cuda.py", "toolchain.py"):
        folder = sources[0].parent / "csrc"
        folder.mkdir(exist_ok=True)
        shutil.copy(script.with_name(name), folder / name)
    return subprocess.run(
        [sys.executable, str(folder / "check_cuda.py"), *map(str, sources)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_reads_what_ptxas_prints():
    assert list(check_cuda.parse(PRINTED)) == [
        check_cuda.Usage("_Z4poolIdEvPKT_", "sm_80", 68, 3072, 0, 0, 0),
        check_cuda.Usage("_Z4poolIfEvPKT_", "sm_90", 255, 0, 16, 12, 24),
    ]
    assert [usage.stays_in_registers for usage in check_cuda.parse(PRINTED)] == [True, False]
    assert not list(check_cuda.parse(""))


def test_output_that_says_nothing_of_a_kernel_is_refused():
    with pytest.raises(ValueError, match="_Z4poolIdEvPKT_"):
        list(check_cuda.parse(PRINTED.replace("Used 68 registers", "Used")))


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="c++filt is not installed")
def test_names_are_readable():
    private = "_ZN10centermask51_GLOBAL__N__546a0d3c_12_roi_align_cu_e792cf5c_309794poolIdEEvi"
    assert check_cuda.readable([private, "_ZN10centermask5sweepEv"]) == ["pool<double>", "sweep"]
    assert check_cuda.readable([]) == []


@pytest.mark.slow
@pytest.mark.skipif(bool(nvcc_obstacle()), reason=nvcc_obstacle() or "nvcc is here")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BAD_KERNEL, ("local",)),
        (WARNING, ("unused", "never referenced")),
        ("void nothing_for_a_device() {}\n", ("no kernel was compiled",)),
        (GOOD_KERNEL, ()),
    ],
)
def test_the_gate(tmp_path, text, words):
    source = tmp_path / "kernel.cu"
    source.write_text(text)
    done = run(source)
    assert done.returncode == (1 if words else 0), done.stdout + done.stderr
    output = done.stdout + done.stderr
    assert not words or any(word in output for word in words), output
