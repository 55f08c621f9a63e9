"""Compiles the operators for tests: CUDA sources by emulation, and either kind with sanitizers.

A variant becomes one library with a namespace of its own under torch.ops. Objects are kept in
build/emu under a hash of everything that went into them, so that a second run compiles nothing.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
EMU = Path(__file__).parent
CACHE = ROOT / "build" / "emu"
TORCH = Path(torch.__file__).parent

COMMON_FLAGS = (
    "-std=c++20",
    "-fPIC",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Werror",
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
)
FAST = ("-O2", "-g0")
ADDRESS = (
    "-O1",
    "-g1",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=undefined,float-cast-overflow",
)
THREAD = ("-O1", "-g1", "-fsanitize=thread", "-DCM_EMU_THREADS")


@dataclass(frozen=True)
class Variant:
    """One way to build the operators.

    Args:
        namespace: where they are under torch.ops.
        emulated: whether the .cu files are built (by emulation) or the CPU kernels.
        flags: added to the command lines of compiler and linker.
        families: stems of the .cu files to build, None: all.
        sanitizer: its library, to be loaded before anything else; None: not needed.
    """

    namespace: str
    emulated: bool
    flags: tuple[str, ...] = FAST
    families: tuple[str, ...] | None = None
    sanitizer: str | None = None

    def sources(self, csrc: Path = CSRC) -> list[Path]:
        """Files to compile."""
        if not self.emulated:
            return [EMU / "parallel_for.cpp", *sorted(csrc.rglob("*.cpp"))]
        kernels = sorted(csrc.rglob("*.cu"))
        if self.families is not None:
            kernels = [path for path in kernels if path.stem in self.families]
        return [csrc / "library.cpp", EMU / "cuda_emu.cpp", *kernels]


VARIANTS: Mapping[str, Variant] = {
    "emu": Variant("centermask_emu", True),
    "emu_address": Variant("centermask_emu", True, ADDRESS, sanitizer="libasan.so"),
    "emu_thread": Variant("centermask_emu", True, THREAD, sanitizer="libtsan.so"),
    "cpu_address": Variant("centermask_cpu", False, ADDRESS, sanitizer="libasan.so"),
    "cpu_thread": Variant("centermask_cpu", False, THREAD, sanitizer="libtsan.so"),
}
"""Name -> variant; those with sanitizers load only into a process that table.run_table starts."""


def compiler() -> list[str]:
    """The C++ compiler as words of a command line, behind ccache where there is one."""
    words = os.environ.get("CXX", "c++").split()
    if len(words) == 1 and shutil.which("ccache"):
        words = ["ccache", *words]
    return words


def can_compile() -> bool:
    """Whether kernels can be emulated here: on Linux, with a compiler."""
    return sys.platform == "linux" and shutil.which(compiler()[-1]) is not None


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def _make(target: Path, write: Callable[[str], None]) -> Path:
    """``target``, written now if it is not there; other processes see it whole or not at all."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        write(str(partial))
        partial.replace(target)
    return target


def _with_headers(source: Path, folders: Sequence[Path]) -> dict[str, str]:
    """Texts of a source and of our headers that it includes, directly or not, by name."""
    texts: dict[str, str] = {}
    paths = [source]
    while paths:
        path = paths.pop()
        if path.name not in texts:
            texts[path.name] = path.read_text()
            for name in re.findall(r'^#include "([^"]+)"', texts[path.name], re.MULTILINE):
                places = [folder / name for folder in (path.parent, *folders)]
                paths += [place for place in places if place.exists()]
    return texts


def build(variant: Variant, csrc: Path = CSRC) -> Path:
    """Library of the operators in ``csrc``, compiled now unless it was before.

    Raises:
        RuntimeError: the compiler's message.
    """
    define = f"-DCM_NAMESPACE={variant.namespace}"
    flags = [*compiler(), *COMMON_FLAGS, *variant.flags, define]
    if variant.emulated:
        flags.append("-DCM_EMU")

    def compiled(source: Path) -> Path:
        texts = _with_headers(source, (csrc, EMU))
        inputs = [*flags, torch.__version__, *(text for _, text in sorted(texts.items()))]
        paths = ["-isystem", f"{TORCH}/include", f"-I{csrc}", f"-I{EMU}"]
        command = [*flags, *paths, "-x", "c++", "-c", str(source), "-o"]
        target = CACHE / f"{source.stem}-{_digest(inputs)}.o"
        return _make(target, lambda partial: _run([*command, partial]))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [str(path) for path in pool.map(compiled, variant.sources(csrc))]
    link = [compiler()[-1], "-shared", *variant.flags, *objects, f"-L{TORCH}/lib"]
    link += [f"-Wl,-Bsymbolic,--as-needed,-rpath,{TORCH}/lib", "-ltorch_cpu", "-lc10", "-pthread"]
    target = CACHE / f"{variant.namespace}-{_digest(objects)}.so"
    return _make(target, lambda partial: _run([*link, "-o", partial]))


def sanitizer_environment(variant: Variant) -> dict[str, str]:
    """What a process must have in its environment to load a library of this variant."""
    if variant.sanitizer is None:
        return {}
    asked = [f"-print-file-name={name}" for name in (variant.sanitizer, "libstdc++.so")]
    libraries = [
        subprocess.check_output([compiler()[-1], each], text=True).strip() for each in asked
    ]
    return {
        "LD_PRELOAD": " ".join(libraries),
        # Python keeps memory till it ends; that is no leak of ours.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        # Python and PyTorch are not compiled for it: only what our own code touches counts.
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:halt_on_error=1",
    }
