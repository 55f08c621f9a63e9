"""Builds the compiled operators; everything else about the package is in pyproject.toml.

CENTERMASK_BUILD chooses what happens:
    auto  build them if torch and a C++ compiler are there, else say so and go without (default)
    cpu   build the CPU operators or fail
    cuda  not available yet
    none  build nothing; the operators then run as plain PyTorch
"""

import logging
import os
import shutil
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from setuptools import setup

ROOT = Path(__file__).resolve().parent
MODES = ("auto", "cpu", "cuda", "none")
MINIMUM_TORCH = (2, 10)
# The oldest release whose stable ABI the sources use; the library then loads in every later one.
TARGET_DEFINE = "-DTORCH_TARGET_VERSION=0x020a000000000000"
COMPILE_FLAGS = [
    "-O3",
    "-g0",
    "-ffp-contract=off",  # a * b + c as two roundings: every processor computes the same bits
    "-fno-trapping-math",  # lets loops with conditions become vector code; changes no value
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-Wall",
]
LIBRARY_MODULE = "maskrcnn_benchmark._C"


def build_mode() -> str:
    """Value of CENTERMASK_BUILD, checked."""
    mode = os.environ.get("CENTERMASK_BUILD", "auto")
    if mode not in MODES:
        sys.exit(f"CENTERMASK_BUILD: expected one of {', '.join(MODES)}, got {mode!r}")
    if mode == "cuda":
        sys.exit("CENTERMASK_BUILD=cuda: the CUDA operators are not there yet; use cpu or auto")
    return mode


def obstacle() -> str | None:
    """Why the operators cannot be compiled here, or None."""
    try:
        installed = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "torch is not importable in this build (pip: use --no-build-isolation)"
    if tuple(int(part) for part in installed.split(".")[:2]) < MINIMUM_TORCH:
        return f"torch {installed} is older than {'.'.join(map(str, MINIMUM_TORCH))}"
    compiler = os.environ.get("CXX", "c++").split()[-1]
    if shutil.which(compiler) is None:
        return f"the C++ compiler {compiler!r} was not found (set CXX to name another)"
    return None


def up_to_date() -> bool:
    """Whether an in-place build would do nothing; asked first because importing torch is slow."""
    if sys.argv[1:] != ["build_ext", "--inplace"]:
        return False
    built = [path.stat().st_mtime for path in (ROOT / "maskrcnn_benchmark").glob("_C*.so")]
    inputs = [*(ROOT / "csrc").iterdir(), Path(__file__)]
    return bool(built) and min(built) > max(path.stat().st_mtime for path in inputs)


def compiled_operators(mode: str) -> dict[str, Any]:
    """Arguments of setup() that build the operators."""
    # Its import talks about a missing CUDA runtime, which nobody asked for.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    class BuildOperators(BuildExtension):  # type: ignore[misc]
        """Compiles with ninja; in auto mode a failure leaves the package without operators."""

        def run(self) -> None:
            try:
                super().run()
            except Exception as error:
                if mode != "auto":
                    raise
                warn_without(f"compilation failed: {error}".rstrip("."))

    extension = CppExtension(
        LIBRARY_MODULE,
        sources=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/*.cpp")),
        depends=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/*.h")),
        extra_compile_args=[*COMPILE_FLAGS, TARGET_DEFINE],
        extra_link_args=["-Wl,--as-needed"] if sys.platform == "linux" else [],
        py_limited_api=True,
    )
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": BuildOperators},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def warn_without(reason: str) -> None:
    """Say loudly that the package will run without compiled operators."""
    warnings.warn(
        f"\n{'*' * 78}\ncentermask: building WITHOUT compiled operators: {reason}.\n"
        "Everything works, more slowly. See INSTALL.md.\n" + "*" * 78,
        RuntimeWarning,
        stacklevel=2,
    )


def setup_arguments() -> dict[str, Any]:
    """What this build adds to pyproject.toml."""
    mode = build_mode()
    if mode == "none" or up_to_date():
        return {}
    reason = obstacle()
    if reason is None:
        return compiled_operators(mode)
    if mode == "cpu":
        sys.exit(f"CENTERMASK_BUILD=cpu: {reason}")
    warn_without(reason)
    return {}


setup(**setup_arguments())
