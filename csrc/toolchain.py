"""Compilers, flags and the compilation itself, for setup.py and for the checks of the sources.

Only the standard library is imported, and PyTorch is never loaded: its headers and libraries are
found by where it is installed. The library uses LibTorch's stable ABI alone, so nothing else about
the installed release matters.
"""

import os
import platform
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parent

# The oldest release whose stable ABI the sources use; the library loads in every later one.
MINIMUM_TORCH = (2, 10)
DEFAULT_ARCHS = "8.0;9.0+PTX"
MINIMUM_NVCC = (12, 0)

COMMON_FLAGS = ["-std=c++20", "-O3", "-DNDEBUG"]
# Messages say roi_align_cpu.cpp:321, not where the checkout lay; and equal sources, equal bits.
# Of two that fit the last counts: headers that contrib/ includes have no name through it.
_SHORT_NAMES = [f"-fmacro-prefix-map={SOURCES}/{folder}=" for folder in ("", "contrib/../")]
CXX_FLAGS = [
    "-g0",
    "-fPIC",
    "-ffp-contract=off",  # a * b + c as two roundings: every processor computes the same bits
    "-fno-trapping-math",  # lets loops with conditions become vector code; changes no value
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-Wall",
    *_SHORT_NAMES,
]
NVCC_FLAGS = [
    "--fmad=false",  # like -ffp-contract=off: the same bits as the CPU kernels where order permits
    "--expt-relaxed-constexpr",
    "-Xcompiler=-fPIC,-fvisibility=hidden,-ffp-contract=off,-Wall,-g0",
    # nvcc cannot hand on what a shell would split.
    *(f"-Xcompiler={flag}" for flag in _SHORT_NAMES if re.fullmatch(r"[\w./+=-]+", flag)),
]
# What a gate for changes adds: no warnings, and kernels whose values all stay in registers.
NVCC_GATE_FLAGS = [
    "-Werror=all-warnings",
    "-Xptxas=--verbose,--warn-on-spills,--warn-on-local-memory-usage,--warning-as-error",
]


# Middle of a macro of compilers : the instructions that they then use, in Linux' words. The last
# of those that a library needs says what processors it is for.
_FEATURES = """
    SSE3:pni SSSE3:ssse3 SSE4_1:sse4_1 SSE4_2:sse4_2 POPCNT:popcnt FMA4:fma4 XOP:xop AVX:avx
    BMI:bmi1 BMI2:bmi2 F16C:f16c FMA:fma LZCNT:abm MOVBE:movbe GFNI:gfni VAES:vaes AVX2:avx2
    AVXVNNI:avx_vnni AVX512CD:avx512cd AVX512DQ:avx512dq AVX512VL:avx512vl AVX512BW:avx512bw
    AVX512VBMI:avx512vbmi AVX512VBMI2:avx512_vbmi2 AVX512IFMA:avx512ifma AVX512BITALG:avx512_bitalg
    AVX512VPOPCNTDQ:avx512_vpopcntdq AVX512BF16:avx512_bf16 AVX512FP16:avx512_fp16 AVX512F:avx512f
    AVX512VNNI:avx512_vnni
"""
_LEVEL_3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"))
_LEVEL_4 = _LEVEL_3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
# Options, and what processors need for them, the best first.
_LEVELS = (
    (("-march=x86-64-v4", "-mavx512vnni"), _LEVEL_4 | {"avx512_vnni"}),
    (("-march=x86-64-v4",), _LEVEL_4),
    (("-march=x86-64-v3",), _LEVEL_3),
)
# Beginnings of options by which users choose instructions themselves.
_CHOOSING = ("-march=", "-mcpu=", "-mavx", "-msse", "-mfma", "-mno-")


class Obstacle(Exception):  # noqa: N818 - it is an answer, not always an error
    """Why operators cannot be compiled here, in words for the user."""


class Torch(NamedTuple):
    """The installed PyTorch: its folder, its version, and the CUDA release it was built for."""

    folder: Path
    version: str
    cuda: str | None


class Step(NamedTuple):
    """One command and the file it makes."""

    title: str
    command: list[str]
    output: Path


def find_torch() -> Torch:
    """The installed PyTorch, without importing it; ``Obstacle`` if there is none."""
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise Obstacle(
            "torch is not installed where the package is built. pip builds in an empty environment "
            "unless told otherwise; run: pip install --no-build-isolation --force-reinstall "
            "--no-deps . (its build needs: pip install torch 'setuptools>=77' wheel)"
        )
    folder = Path(spec.submodule_search_locations[0])
    facts = runpy.run_path(str(folder / "version.py"))
    return Torch(folder, facts["__version__"], facts["cuda"])


def check_release(torch: Torch) -> None:
    """Raise ``Obstacle`` if this PyTorch is too old for the sources."""
    if tuple(int(part) for part in torch.version.split(".")[:2]) < MINIMUM_TORCH:
        wanted = ".".join(map(str, MINIMUM_TORCH))
        raise Obstacle(f"torch {torch.version} is older than {wanted}, which they need")


def compiler() -> list[str]:
    """The C++ compiler: ``CXX`` or c++; ``Obstacle`` if it is not there."""
    command = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    if shutil.which(command[-1]) is None:
        raise Obstacle(
            f"the C++ compiler {command[-1]!r} was not found (set CXX to name another; Debian and "
            "Ubuntu: apt-get install g++)"
        )
    return command


def find_nvcc(torch: Torch) -> str:
    """Path of the CUDA compiler for this PyTorch; ``Obstacle`` if there is none that fits."""
    check_release(torch)
    if torch.cuda is None:
        raise Obstacle(f"this PyTorch ({torch.version}) was built for the CPU only")
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    places = [os.path.join(home, "bin") for home in homes if home]
    search = os.pathsep.join([*places, os.environ.get("PATH", ""), "/usr/local/cuda/bin"])
    nvcc = shutil.which("nvcc", path=search)
    if nvcc is None:
        raise Obstacle(
            "nvcc was not found: install the CUDA toolkit "
            f"{torch.cuda} and put nvcc on PATH, or set CUDA_HOME"
        )
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"release (\d+)\.(\d+)", text)
    if found is None:
        raise Obstacle(f"{nvcc} --version does not tell its release: {text.strip()!r}")
    release = (int(found[1]), int(found[2]))
    if release < MINIMUM_NVCC:
        raise Obstacle(f"{nvcc} is of CUDA {found[1]}.{found[2]}, which does not know C++20")
    # A driver that suffices for this PyTorch need not know kernels of a newer major release.
    if release[0] > int(torch.cuda.split(".")[0]):
        raise Obstacle(f"{nvcc} is of CUDA {found[1]}, PyTorch of CUDA {torch.cuda}: too new")
    return nvcc


def cuda_archs() -> list[str]:
    """Compute capabilities to compile for: TORCH_CUDA_ARCH_LIST, else the devices', else 8.0, 9.0.

    Entries read like "9.0" or "9.0+PTX", the latter with code that newer devices can translate.
    """
    wanted = re.split(r"[;,\s]+", os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip())
    if wanted in ([""], ["native"]):
        visible = sorted(_visible_archs(), key=float)
        wanted = [*visible[:-1], f"{visible[-1]}+PTX"] if visible else DEFAULT_ARCHS.split(";")
    for arch in wanted:
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", arch):
            raise Obstacle(
                f"TORCH_CUDA_ARCH_LIST: expected entries like 8.0 or 9.0+PTX, got {arch!r}"
            )
    return wanted


def _visible_archs() -> set[str]:
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return set()
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return set(re.findall(r"^\s*(\d+\.\d)\s*$", done.stdout, re.MULTILINE))


def arch_flags(archs: Iterable[str]) -> list[str]:
    """Options of nvcc for compute capabilities as ``cuda_archs`` gives them."""
    flags = []
    for arch in archs:
        number = arch.removesuffix("+PTX").replace(".", "")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if arch.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def ccache(command: Sequence[str]) -> list[str]:
    """``command`` through ccache, where that is installed (CCACHE_DISABLE=1 switches it off)."""
    search = os.pathsep.join([os.environ.get("PATH", ""), sysconfig.get_path("scripts")])
    program = shutil.which("ccache", path=search)
    wrapped = "cache" in Path(command[0]).name
    return [*command] if program is None or wrapped else [program, *command]


def target() -> str:
    """Definition that keeps the sources to the ABI of the oldest release."""
    major, minor = MINIMUM_TORCH
    return f"-DTORCH_TARGET_VERSION=0x{major:02x}{minor:02x}000000000000"


def cxx_command(torch: Torch) -> list[str]:
    """Command that compiles a .cpp file, without the files' names."""
    include = f"-isystem{torch.folder / 'include'}"
    flags = [*COMMON_FLAGS, *CXX_FLAGS, *processor_flags()]
    return [*compiler(), *flags, target(), include, *_extra_flags()]


def _extra_flags() -> list[str]:
    return shlex.split(os.environ.get("CXXFLAGS", ""))


def processor_flags() -> list[str]:
    """Options that make the compiler use the vector instructions of this machine's processor.

    None of these where it compiles for several processors at once (platform.h), where CXXFLAGS
    choose instructions, and on other processors than x86-64.
    """
    words = [*compiler(), *_extra_flags()]
    chosen: Sequence[str] = ()
    if platform.machine() == "x86_64" and not any(word.startswith(_CHOOSING) for word in words):
        platform_macros = _macros([*words, "-include", str(SOURCES / "platform.h")])
        if "CM_HAS_TARGET_CLONES" not in platform_macros:
            chosen = _best_level(words)
    # Left to itself clang splits registers of 64 bytes, and then has too few.
    splits = _macros([*words, *chosen]) >= {"__clang__", "__AVX512F__"}
    return [*(["-mprefer-vector-width=512"] if splits else []), *chosen]


def _best_level(words: Sequence[str]) -> Sequence[str]:
    here = processor_features()
    for flags, needs in _LEVELS:
        if needs <= here and _macros([*words, *flags]):
            return flags
    return ()


def _macros(command: Sequence[str]) -> set[str]:
    """Names that are defined for a file without contents; none if the compiler refuses."""
    ask = [*command, "-dM", "-E", "-x", "c++", os.devnull]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    return set(re.findall(r"^#define (\w+)", done.stdout if done.returncode == 0 else "", re.M))


def processor_features() -> frozenset[str]:
    """What this machine's processor has, in Linux' words; nothing where Linux does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split() if found else ())


def needed_features(command: Sequence[str]) -> tuple[str, ...]:
    """What a processor must have for what a command compiles, in Linux' words; mostly nothing."""
    macros = _macros(command)
    pairs = (pair.split(":") for pair in _FEATURES.split())
    return tuple(feature for middle, feature in pairs if f"__{middle}__" in macros)


def nvcc_command(torch: Torch, archs: Iterable[str]) -> list[str]:
    """Command that compiles a .cu file, without the files' names."""
    host = ["-ccbin", compiler()[-1]] if os.environ.get("CXX") else []
    include = f"-isystem={torch.folder / 'include'}"
    flags = [*COMMON_FLAGS, *NVCC_FLAGS, *arch_flags(archs)]
    return [find_nvcc(torch), *host, *flags, target(), "-DUSE_CUDA", include]


def link_command(torch: Torch, archs: Iterable[str]) -> list[str]:
    """Command that links the library, without the files' names.

    CUDA's runtime is linked statically and hidden, and of PyTorch's libraries only those stay that
    are used: libtorch_cpu and libc10, which every build of PyTorch has. So one file loads
    everywhere, PyTorch for the CPU included.
    """
    libraries = [f"-L{torch.folder / 'lib'}", "-ltorch_cpu", "-lc10"]
    extra = shlex.split(os.environ.get("LDFLAGS", ""))
    if sys.platform == "darwin":
        return [*compiler(), "-dynamiclib", *libraries, *extra]
    linker = ["--as-needed", "--exclude-libs,ALL"]
    if not list(archs):
        return [*compiler(), "-shared", *(f"-Wl,{flag}" for flag in linker), *libraries, *extra]
    host = ["-ccbin", compiler()[-1]] if os.environ.get("CXX") else []
    wrapped = [f"-Xlinker={flag}" for flag in linker]
    return [find_nvcc(torch), *host, "-shared", "--cudart=static", *wrapped, *libraries, *extra]


def compile_step(source: Path, command: Sequence[str], folder: Path) -> Step:
    """Compilation of one file to an object in ``folder``, which notes the headers it read."""
    output = folder / f"{source.name}.o"
    files = ["-MMD" if source.suffix == ".cpp" else "-MD", "-MF", f"{output}.d"]
    full = [*ccache(command), *files, "-c", str(source), "-o", str(output)]
    return Step(f"compiling {source.name}", full, output)


def build_library(torch: Torch, archs: Sequence[str], folder: Path, library: Path) -> None:
    """Compile what changed and link ``library``.

    Args:
        torch: the PyTorch to build against.
        archs: compute capabilities of the CUDA kernels; none for a library without them.
        folder: where the objects lie.
        library: the file to make.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The CUDA files first, as they take longest.
    steps = [
        compile_step(path, nvcc_command(torch, archs), folder)
        for path in (sorted(SOURCES.rglob("*.cu")) if archs else ())
    ]
    command = cxx_command(torch)
    steps += [compile_step(path, command, folder) for path in sorted(SOURCES.rglob("*.cpp"))]
    run_steps(steps)
    library.parent.mkdir(parents=True, exist_ok=True)
    command = link_command(torch, archs)
    # Objects before the libraries that they need.
    at = command.index("-shared") if "-shared" in command else command.index("-dynamiclib")
    objects = [str(step.output) for step in steps]
    link = [*command[: at + 1], "-o", str(library), *objects, *command[at + 1 :]]
    run_steps([Step(f"linking {library.name}", link, library)])


def run_steps(steps: Sequence[Step], *, quiet: bool = False) -> list[str]:
    """Run the steps whose output is out of date, in parallel; what each of them printed.

    Raises ``Obstacle`` after the first failure; the compiler's own words are on standard error.

    Args:
        steps: in the order in which they start.
        quiet: do not repeat what the compilers print when they succeed.
    """
    jobs = int(os.environ.get("MAX_JOBS", 0)) or os.cpu_count() or 1
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_run_step, step, quiet) for step in steps if not _is_current(step)]
        try:
            return [future.result() for future in futures]
        except Obstacle:
            pool.shutdown(cancel_futures=True)
            raise


def _run_step(step: Step, quiet: bool) -> str:
    sys.stdout.write(f"{step.title}\n")
    sys.stdout.flush()
    done = subprocess.run(step.command, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        step.output.unlink(missing_ok=True)
        sys.stderr.write(f"{shlex.join(step.command)}\n{text}")
        raise Obstacle(f"{step.title} failed (exit status {done.returncode})")
    if text.strip() and not quiet:
        sys.stderr.write(text)
    # Nothing is noted of a library: a link takes no time, and the note would be packed with it.
    if Path(f"{step.output}.d").exists():
        Path(f"{step.output}.cmd").write_text(shlex.join(step.command))
    return text


def _is_current(step: Step) -> bool:
    """Whether the output was made by this very command from files that have not changed since."""
    record, dependencies = Path(f"{step.output}.cmd"), Path(f"{step.output}.d")
    if not (step.output.exists() and record.exists() and dependencies.exists()):
        return False
    if record.read_text() != shlex.join(step.command):
        return False
    _, _, names = dependencies.read_text().replace("\\\n", " ").partition(":")
    made = step.output.stat().st_mtime
    paths = [Path(name.replace("\\ ", " ")) for name in re.findall(r"(?:\\ |\S)+", names)]
    return all(path.exists() and path.stat().st_mtime <= made for path in paths)
