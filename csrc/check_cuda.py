"""Compiles every CUDA source the way a change must: no warning, nothing kept outside registers.

    python csrc/check_cuda.py [FILE.cu ...]

For devices of capability 8.0 and 9.0, and as PTX for later ones. Prints what each kernel uses and
ends with status 1 where ptxas reports a stack frame, spilled registers or local memory: each means
that a kernel works in slow memory of its own, mostly as it indexes a local array by a variable.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import toolchain

ARCHS = ("8.0", "9.0+PTX")
OBJECTS = toolchain.SOURCES.parent / "build" / "check_cuda"


class Usage(NamedTuple):
    """What ptxas says of a kernel: registers of a thread, bytes of the memories."""

    kernel: str
    arch: str
    registers: int
    shared: int
    stack: int
    spills: int
    local: int

    @property
    def stays_in_registers(self) -> bool:
        """Whether the kernel has no memory of its own beside registers and shared memory."""
        return self.stack == self.spills == self.local == 0


def parse(text: str) -> Iterator[Usage]:
    """Every kernel in the output of ``ptxas --verbose``."""
    _, *pieces = re.split(r"Compiling entry function '(\w+)' for '(\w+)'", text)
    for kernel, arch, part in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True):

        def number(pattern: str, part: str = part) -> int:
            return sum(int(found) for found in re.findall(pattern, part))

        if "registers" not in part:
            raise ValueError(f"no register count for {kernel} in: {part.strip()!r}")
        yield Usage(
            kernel=kernel,
            arch=arch,
            registers=number(r"Used (\d+) registers"),
            shared=number(r"(\d+) bytes smem"),
            stack=number(r"(\d+) bytes stack frame"),
            spills=number(r"(\d+) bytes spill (?:stores|loads)"),
            local=number(r"(\d+) bytes lmem"),
        )


def readable(names: Sequence[str]) -> list[str]:
    """Kernel names as in the source, where c++filt is there to tell."""
    program = shutil.which("c++filt")
    if program is None or not names:
        return [*names]
    text = "\n".join(names)
    done = subprocess.run([program, "-p"], input=text, capture_output=True, text=True, check=True)
    private = re.compile(r"centermask::(\(anonymous namespace\)::|_GLOBAL__N__\w+::)?")
    return [private.sub("", name) for name in done.stdout.splitlines()]


def check(sources: Sequence[Path], objects: Path) -> list[Usage]:
    """What every kernel of the sources uses; ``toolchain.Obstacle`` where one does not compile."""
    torch = toolchain.find_torch()
    command = [*toolchain.nvcc_command(torch, ARCHS), *toolchain.NVCC_GATE_FLAGS]
    # What the compiler printed counts, so nothing may be taken as done.
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir(parents=True)
    steps = [toolchain.compile_step(path, command, objects) for path in sources]
    return [usage for text in toolchain.run_steps(steps, quiet=True) for usage in parse(text)]


def main() -> int:
    """The exit status."""
    named = [Path(word).resolve() for word in sys.argv[1:]]
    sources = named or sorted(toolchain.SOURCES.rglob("*.cu"))
    try:
        usages = check(sources, OBJECTS)
    except toolchain.Obstacle as obstacle:
        sys.stderr.write(f"check_cuda: {obstacle}\n")
        return 1
    if not usages:
        sys.stderr.write("check_cuda: no kernel was compiled\n")
        return 1
    names = readable([usage.kernel for usage in usages])
    sys.stdout.write("arch   registers  shared  stack  spills  local  kernel\n")
    for name, usage in zip(names, usages, strict=True):
        numbers = f"{usage.registers:9}  {usage.shared:6}  {usage.stack:5}  {usage.spills:6}"
        sys.stdout.write(f"{usage.arch}  {numbers}  {usage.local:5}  {name}\n")
    bad = sum(not usage.stays_in_registers for usage in usages)
    sys.stdout.write(f"{len(usages)} kernels in {len(sources)} files, {bad} outside registers\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
