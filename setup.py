"""Builds the compiled operators; everything else about the package is in pyproject.toml.

CENTERMASK_BUILD chooses what happens:
    auto  build what can be built here and say what is left out (default)
    cpu   build the CPU operators or fail
    cuda  build the CPU and the CUDA operators into one library or fail
    none  build nothing; the operators then run as plain PyTorch

TORCH_CUDA_ARCH_LIST, CXX, CXXFLAGS, LDFLAGS, CUDA_HOME and MAX_JOBS mean what they usually mean.
What was built, and why not more, is written to maskrcnn_benchmark/_build.json beside the library.
"""

import json
import os
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "csrc"))
import toolchain  # noqa: E402 - lies in csrc/

MODES = ("auto", "cpu", "cuda", "none")
PACKAGE = "maskrcnn_benchmark"
RECORD = "_build.json"
# Found again by maskrcnn_benchmark.config.shipped.
SHIPPED = (
    "configs/**/*.yaml",
    "MODEL_ZOO.json",
    "datasets/quickstart/*.npz",
    # The photos that exports are checked on (maskrcnn_benchmark.export.verify), and whose they are.
    "datasets/quickstart/ATTRIBUTION.csv",
    "datasets/quickstart/val/000000005001.jpg",
    "datasets/quickstart/val/000000006818.jpg",
    "datasets/quickstart/val/000000168974.jpg",
    "datasets/boards/LICENSE",
    "datasets/boards/val/IMG_20181228_102636.jpg",
    "datasets/boards/val/IMG_20181228_103629.jpg",
)
NO_CUDA_TOOLS = "built without CUDA kernels"

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is built, and why not more: the contents of the record.

    Attributes:
        mode: value of CENTERMASK_BUILD.
        devices: whose operators are compiled: (), ("cpu",) or ("cpu", "cuda").
        torch: version of the PyTorch built against, None if nothing is built.
        archs: compute capabilities of the CUDA kernels.
        missing: why not every operator is compiled; empty if they are.
        processor: what a processor must have to run the library; nothing: any of its kind runs it.
    """

    mode: str
    devices: tuple[str, ...] = ()
    torch: str | None = None
    archs: tuple[str, ...] = ()
    missing: str = ""
    processor: tuple[str, ...] = ()

    def without_cuda(self, reason: str) -> "Plan":
        """The same for the CPU alone."""
        return replace(self, devices=("cpu",), archs=(), missing=reason)

    def without_library(self, reason: str) -> "Plan":
        """Nothing is compiled."""
        return Plan(self.mode, missing=reason)


def build_mode() -> str:
    """Value of CENTERMASK_BUILD, checked."""
    mode = os.environ.get("CENTERMASK_BUILD") or "auto"
    if mode not in MODES:
        sys.exit(f"CENTERMASK_BUILD: expected one of {', '.join(MODES)}, got {mode!r}")
    return mode


def attempt(look: Callable[[], T], required: str | None) -> T | toolchain.Obstacle:
    """Result of ``look``, or the obstacle; if a mode requires it, an obstacle is the end."""
    try:
        return look()
    except toolchain.Obstacle as obstacle:
        if required:
            sys.exit(f"CENTERMASK_BUILD={required}: {obstacle}")
        return obstacle


def make_plan(mode: str) -> Plan:
    """What can be built here of what the mode asks for."""
    plan = Plan(mode)
    if mode == "none":
        return plan.without_library("CENTERMASK_BUILD=none asked for it")

    def look_for_cpu() -> toolchain.Torch:
        if sys.platform == "win32":
            raise toolchain.Obstacle("the compiled operators need GCC or clang, not Windows")
        torch = toolchain.find_torch()
        toolchain.check_release(torch)
        toolchain.compiler()
        return torch

    torch = attempt(look_for_cpu, None if mode == "auto" else mode)
    if isinstance(torch, toolchain.Obstacle):
        return plan.without_library(str(torch))
    needs = toolchain.needed_features(toolchain.cxx_command(torch))
    plan = replace(plan, devices=("cpu",), torch=torch.version, processor=needs)
    if mode == "cpu":
        return plan.without_cuda("CENTERMASK_BUILD=cpu left the CUDA kernels out")

    def look_for_cuda() -> list[str]:
        toolchain.find_nvcc(torch)
        return toolchain.cuda_archs()

    archs = attempt(look_for_cuda, None if mode == "auto" else mode)
    if isinstance(archs, toolchain.Obstacle):
        return plan.without_cuda(str(archs))
    return replace(plan, devices=("cpu", "cuda"), archs=tuple(archs))


def announce(plan: Plan) -> None:
    """Say loudly what auto mode leaves out; a mode that asked for it says nothing."""
    if plan.mode != "auto" or not plan.missing:
        return
    what = "the CUDA operators" if plan.devices else "compiled operators"
    warnings.warn(
        f"\n{'*' * 78}\ncentermask: building WITHOUT {what}: {plan.missing}.\n"
        "Everything works, more slowly. See INSTALL.md.\n" + "*" * 78,
        RuntimeWarning,
        stacklevel=2,
    )


class Builder:
    """The plan as it goes: what failed to compile in auto mode is taken out of it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def build(self, folder: Path, library: Path) -> None:
        """Make the library, or as much of it as the mode allows to be missing."""
        library.unlink(missing_ok=True)
        required = None if self.plan.mode == "auto" else self.plan.mode

        def compile_and_link() -> None:
            torch = toolchain.find_torch()
            toolchain.build_library(torch, self.plan.archs, folder, library)

        while self.plan.devices:
            outcome = attempt(compile_and_link, required)
            if not isinstance(outcome, toolchain.Obstacle):
                return
            with_cuda = "cuda" in self.plan.devices
            less = self.plan.without_cuda if with_cuda else self.plan.without_library
            self.plan = less(str(outcome))
            announce(self.plan)

    def write_record(self, folder: Path) -> None:
        """Leave the outcome for ``layers.ops_status()`` and ``collect_env`` in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(json.dumps(asdict(self.plan), indent=2) + "\n")


def copy_shipped(target: Path) -> None:
    """Copy what the package takes along from the repository, where it has its own places."""
    for pattern in SHIPPED:
        for path in ROOT.glob(pattern):
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def commands(builder: Builder) -> dict[str, Any]:
    """The setuptools commands that build with ``builder``."""

    class BuildOperators(build_ext):
        def run(self) -> None:
            super().run()
            source = ROOT / PACKAGE if self.inplace else Path(self.build_lib) / PACKAGE
            builder.write_record(source)

        def build_extension(self, ext: Extension) -> None:
            library = Path(self.get_ext_fullpath(ext.name))
            builder.build(Path(self.build_temp).resolve(), library.resolve())
            # In auto mode the package goes on without it.
            ext.optional = not library.exists()

        def copy_extensions_to_source(self) -> None:
            for ext in self.extensions:
                _, built = self._get_inplace_equivalent(self.get_finalized_command("build_py"), ext)
                ext.optional = not Path(built).exists()
            super().copy_extensions_to_source()

    class BuildPackage(build_py):
        def run(self) -> None:
            super().run()
            folder = ROOT if self.editable_mode else Path(self.build_lib)
            builder.write_record(folder / PACKAGE)
            if not self.editable_mode:
                copy_shipped(folder / PACKAGE / "shipped")

    class Wheel(bdist_wheel):
        def run_command(self, command: str) -> None:
            super().run_command(command)
            # Without a library the wheel suits every system and every Python.
            if command == "build" and not builder.plan.devices:
                self.root_is_pure = True

    return {"build_ext": BuildOperators, "build_py": BuildPackage, "bdist_wheel": Wheel}


def setup_arguments() -> dict[str, Any]:
    """What this build adds to pyproject.toml."""
    plan = make_plan(build_mode())
    if plan.processor:
        sys.stderr.write(
            f"centermask: the library is for processors with {plan.processor[-1]} alone "
            "(INSTALL.md, What is built)\n"
        )
    announce(plan)
    arguments: dict[str, Any] = {"cmdclass": commands(Builder(plan))}
    if plan.devices:
        sources = sorted(str(path.relative_to(ROOT)) for path in toolchain.SOURCES.rglob("*.c*"))
        arguments["ext_modules"] = [Extension(f"{PACKAGE}._C", sources, py_limited_api=True)]
        if not sysconfig.get_config_var("Py_GIL_DISABLED"):
            arguments["options"] = {"bdist_wheel": {"py_limited_api": "cp310"}}
    return arguments


if __name__ == "__main__":
    setup(**setup_arguments())
