"""One table of calls for every operator, run on every implementation of it.

The CPU kernels, the CUDA kernels under emulation (tests/emu), both with sanitizers, and the CUDA
kernels on a device (pytest -m gpu) compute the same cases; the plain PyTorch twin says what is
expected. A new operator adds a module with CASES and REFUSALS and a line to FAMILIES.
"""

from pathlib import Path

from tests.layers.op_cases import (
    nms,
    paste_masks_rle,
    polygons,
    roi_align,
    roi_pool,
    sigmoid_focal_loss,
)
from tests.layers.op_cases.case import OpCase, Refusal, run_case, run_refusal

CSRC = Path(__file__).parents[3] / "csrc"

FAMILIES = {
    "nms": nms,
    "paste_masks_rle": paste_masks_rle,
    "polygons": polygons,
    "roi_align": roi_align,
    "roi_pool": roi_pool,
    "sigmoid_focal_loss": sigmoid_focal_loss,
}
"""Name of the source file, without _cpu.cpp or .cu -> its module of cases."""
EMULATED = tuple(family for family in FAMILIES if (CSRC / f"{family}.cu").exists())
"""Those families that have CUDA kernels."""

CASES: tuple[OpCase, ...] = tuple(case for family in FAMILIES.values() for case in family.CASES)
REFUSALS: tuple[Refusal, ...] = tuple(
    refusal for family in FAMILIES.values() for refusal in family.REFUSALS
)

__all__ = [
    "CASES",
    "EMULATED",
    "FAMILIES",
    "REFUSALS",
    "OpCase",
    "Refusal",
    "run_case",
    "run_refusal",
]
