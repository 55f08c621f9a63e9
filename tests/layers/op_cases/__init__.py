"""One table of calls for every operator, run on every implementation of it.

The CPU kernels, the CUDA kernels under emulation (tests/emu), both with sanitizers, and the CUDA
kernels on a device (pytest -m gpu) compute the same cases; the plain PyTorch twin says what is
expected. A new operator adds a module with CASES and REFUSALS and a line to FAMILIES; its module
may also have CUDA_CASES, of arguments that the CPU kernel refuses and a CUDA kernel answers, and
CPU_CASES, the other way round.
"""

from pathlib import Path

from tests.layers.op_cases import (
    conv_tower,
    deform_conv,
    deform_psroi_pooling,
    group_norm_relu,
    inverted_residual,
    inverted_residual_int16,
    nms,
    paste_masks_rle,
    pointwise,
    polygons,
    roi_align,
    roi_pool,
    scores_above,
    sigmoid_focal_loss,
    winograd,
    winograd_training,
)
from tests.layers.op_cases.case import OpCase, Refusal, run_case, run_refusal

CSRC = Path(__file__).parents[3] / "csrc"

FAMILIES = {
    "conv_tower": conv_tower,
    "deform_conv": deform_conv,
    "deform_psroi_pooling": deform_psroi_pooling,
    "group_norm_relu": group_norm_relu,
    "inverted_residual": inverted_residual,
    "inverted_residual_int16": inverted_residual_int16,
    "nms": nms,
    "paste_masks_rle": paste_masks_rle,
    "pointwise": pointwise,
    "polygons": polygons,
    "roi_align": roi_align,
    "roi_pool": roi_pool,
    "scores_above": scores_above,
    "sigmoid_focal_loss": sigmoid_focal_loss,
    "winograd": winograd,
    "winograd_training": winograd_training,
}
"""Name of the source file, without _cpu.cpp or .cu -> its module of cases."""
EMULATED = tuple(family for family in FAMILIES if any(CSRC.rglob(f"{family}.cu")))
"""Those families that have CUDA kernels."""


def cases_of(family: str, *, on_cuda: bool) -> tuple[OpCase, ...]:
    """Cases of one family, with those that only CUDA kernels, or only CPU kernels, answer."""
    module = FAMILIES[family]
    return (*module.CASES, *getattr(module, "CUDA_CASES" if on_cuda else "CPU_CASES", ()))


CUDA_CASES: tuple[OpCase, ...] = tuple(
    case for family in EMULATED for case in cases_of(family, on_cuda=True)
)
CUDA_REFUSALS: tuple[Refusal, ...] = tuple(
    refusal for family in EMULATED for refusal in FAMILIES[family].REFUSALS
)

CASES: tuple[OpCase, ...] = tuple(
    case for family in FAMILIES for case in cases_of(family, on_cuda=False)
)
REFUSALS: tuple[Refusal, ...] = tuple(
    refusal for family in FAMILIES.values() for refusal in family.REFUSALS
)

__all__ = [
    "CASES",
    "CUDA_CASES",
    "CUDA_REFUSALS",
    "EMULATED",
    "FAMILIES",
    "REFUSALS",
    "OpCase",
    "Refusal",
    "cases_of",
    "run_case",
    "run_refusal",
]
