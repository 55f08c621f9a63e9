"""Runs the table of op_cases under sanitizers: CUDA kernels by emulation, and CPU kernels.

    python -m tests.emu.sanitize [emu_address emu_thread cpu_address cpu_thread]

Returns 0 when every case passed and no sanitizer reported anything.
"""

import argparse
import sys

from tests.emu.build import VARIANTS, build
from tests.emu.table import run_table

SANITIZED = tuple(name for name, variant in VARIANTS.items() if variant.sanitizer)


def complaints(name: str) -> str:
    """What a variant's run printed if it failed, else nothing."""
    variant = VARIANTS[name]
    # Thousands of threads are slow; the element type changes no access.
    done = run_table(build(variant), variant, one_type=variant.sanitizer == "libtsan.so")
    return (
        "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    )


def main() -> int:
    """Number of variants that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", help="default: all")
    chosen = parser.parse_args().variants or SANITIZED
    if unknown := set(chosen) - set(SANITIZED):
        parser.error(f"expected some of {', '.join(SANITIZED)}, got {', '.join(unknown)}")
    num_failed = 0
    for name in chosen:
        found = complaints(name)
        num_failed += bool(found)
        print(f"{name}: {found or 'clean'}", flush=True)  # noqa: T201 - its result
    return num_failed


if __name__ == "__main__":
    sys.exit(main())
