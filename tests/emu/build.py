"""Compiles the operators for tests: CUDA sources by emulation, and either kind with sanitizers.

A variant becomes one library with a namespace of its own under torch.ops. Objects are kept in
build/emu under a hash of everything that went into them, so that a second run compiles nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g1")
THREAD = ("-fsanitize=thread", "-g1")


@dataclass(frozen=True)
class Variant:
    """One way to build the operators.

    Args:
        namespace: where they are under torch.ops.
        emulated: whether the .cu files are built (by emulation) or the CPU kernels.
        flags: added to the command lines of compiler and linker.
        families: stems of the .cu files to build, None: all.
    """

    namespace: str
    emulated: bool
    flags: tuple[str, ...] = ("-O2", "-g0")
    families: tuple[str, ...] | None = field(default=None)

    def sources(self, csrc: Path = CSRC) -> list[Path]:
        """Files to compile."""
        if not self.emulated:
            return sorted(csrc.glob("*.cpp"))
        kernels = sorted(csrc.glob("*.cu"))
        if self.families is not None:
            kernels = [path for path in kernels if path.stem in self.families]
        return [csrc / "library.cpp", EMU / "cuda_emu.cpp", *kernels]


VARIANTS: Mapping[str, Variant] = {
    "emu": Variant("centermask_emu", emulated=True),
    "emu_address": Variant("centermask_emu_address", True, ("-O1", *ADDRESS)),
    "emu_thread": Variant("centermask_emu_thread", True, ("-O1", *THREAD, "-DCM_EMU_THREADS")),
    "cpu_address": Variant("centermask_cpu_address", False, ("-O1", *ADDRESS)),
    "cpu_thread": Variant("centermask_cpu_thread", False, ("-O1", *THREAD)),
}
"""Name -> variant; those with sanitizers load only into a process that sanitize.py starts."""


def compiler() -> list[str]:
    """The C++ compiler as words of a command line, behind ccache where there is one."""
    words = os.environ.get("CXX", "c++").split()
    if len(words) == 1 and shutil.which("ccache"):
        words = ["ccache", *words]
    return words


def can_compile() -> bool:
    """Whether there is a GCC or clang here."""
    return sys.platform == "linux" and shutil.which(compiler()[-1]) is not None


def _digest(*parts: str | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else part)
        total.update(b"\0")
    return total.hexdigest()[:16]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def _make(target: Path, write: Callable[[str], None]) -> Path:
    """`target`, written now if it is not there; other processes see it whole or not at all."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        write(str(partial))
        partial.replace(target)
    return target


def _flags(variant: Variant) -> list[str]:
    flags = [*COMMON_FLAGS, *variant.flags, f"-DCM_NAMESPACE={variant.namespace}"]
    if variant.emulated:
        flags += ["-DCM_EMU", f"-I{EMU}"]
    return flags


def _headers(csrc: Path) -> str:
    paths = [*sorted(csrc.glob("*.h")), *sorted(EMU.glob("*.h"))]
    return "".join(path.read_text() for path in paths)


def build(variant: Variant, csrc: Path = CSRC) -> Path:
    """Library of the operators in `csrc`, compiled now unless it was before.

    Raises:
        RuntimeError: the compiler's message.
    """
    flags = _flags(variant)
    common = [" ".join([*compiler(), *flags]), torch.__version__, _headers(csrc)]

    def compiled(source: Path) -> Path:
        digest = _digest(*common, source.name, source.read_text())
        command = [*compiler(), *flags, f"-I{source.parent}", "-isystem", f"{TORCH}/include"]
        language = ["-x", "c++", "-c", str(source)]
        return _make(
            CACHE / f"{source.stem}-{digest}.o",
            lambda partial: _run([*command, *language, "-o", partial]),
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [str(path) for path in pool.map(compiled, variant.sources(csrc))]
    torch_lib = f"{TORCH}/lib"
    link = [compiler()[-1], "-shared", *variant.flags, *objects, f"-L{torch_lib}"]
    link += [f"-Wl,-rpath,{torch_lib}", "-Wl,--as-needed", "-ltorch_cpu", "-lc10", "-pthread"]
    return _make(
        CACHE / f"{variant.namespace}-{_digest(*objects)}.so",
        lambda partial: _run([*link, "-o", partial]),
    )
