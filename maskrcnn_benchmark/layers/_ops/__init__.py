"""Registration of the operators ``torch.ops.centermask.*``.

The compiled library, where it is there, brings schemas and kernels of its devices; every other
device (and every device, without the library) computes with plain PyTorch twins, which are also the
oracle of the tests. Shape functions, derivatives and autocast rules are the same for both, so
models, torch.compile and export need not care. One module here describes one family of operators;
a twin's arguments are those of the operator's schema, in their order.
"""

import os
import warnings
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import torch

from maskrcnn_benchmark.layers._ops import (
    conv_tower,
    deform_conv,
    group_norm_relu,
    inverted_residual,
    inverted_residual_int16,
    nms,
    paste_masks_rle,
    pointwise,
    polygons,
    roi_align,
    scores_above,
    sigmoid_focal_loss,
    winograd,
    winograd_training,
)
from maskrcnn_benchmark.layers._ops.library import OPS_VARIABLE, OpsStatus, load_library
from maskrcnn_benchmark.layers._ops.operator import NAMESPACE, Operator
from maskrcnn_benchmark.layers.contrib._ops import deform_psroi_pooling, roi_pool

OPERATORS: tuple[Operator, ...] = (
    *conv_tower.OPERATORS,
    *deform_conv.OPERATORS,
    *deform_psroi_pooling.OPERATORS,
    *group_norm_relu.OPERATORS,
    *inverted_residual.OPERATORS,
    *inverted_residual_int16.OPERATORS,
    *nms.OPERATORS,
    *paste_masks_rle.OPERATORS,
    *pointwise.OPERATORS,
    *polygons.OPERATORS,
    *roi_align.OPERATORS,
    *roi_pool.OPERATORS,
    *scores_above.OPERATORS,
    *sigmoid_focal_loss.OPERATORS,
    *winograd.OPERATORS,
    *winograd_training.OPERATORS,
)
"""Every operator of the package."""

SCHEMAS: Mapping[str, str] = MappingProxyType({each.name: each.schema for each in OPERATORS})
"""Operator name -> schema without the name; csrc/library.cpp must say the same (tested)."""

STATUS = load_library(SCHEMAS)
"""Outcome of the one attempt to load the compiled library."""

if not STATUS.compiled and os.environ.get(OPS_VARIABLE) != "reference":
    warnings.warn(
        f"operators run as plain PyTorch, more slowly: {STATUS.reason}",
        RuntimeWarning,
        stacklevel=2,
    )

_LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]


@cache
def _warn_about_cuda() -> None:
    """One warning at the first use, as the CPU's operators are compiled and import says nothing."""
    warnings.warn(
        f"operators run as plain PyTorch on CUDA, more slowly: {STATUS.cuda_reason}",
        RuntimeWarning,
        stacklevel=2,
    )


_CPU_ONLY = STATUS.compiled and not STATUS.cuda

for _operator in OPERATORS:
    _operator.register(
        _LIBRARY,
        define=not STATUS.compiled,
        before_cuda=_warn_about_cuda if _CPU_ONLY else None,
    )


def ops_status() -> OpsStatus:
    """Which operators are in use (compiled or reference), for which devices, and why."""
    return STATUS
