"""Registration of the operators `torch.ops.centermask.*`.

The compiled library, where it is there, brings schemas and kernels of its devices; every other
device (and every device, without the library) computes with the plain PyTorch twins of
`_reference.py`. Shape functions, derivatives and autocast rules are the same for both, so models,
torch.compile and export need not care.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference

NAMESPACE = "centermask"
"""Namespace of the operators under torch.ops."""

SCHEMAS: Mapping[str, str] = MappingProxyType(
    {
        "nms_keep": "(Tensor boxes, Tensor? labels, float threshold) -> Tensor",
        "roi_align": (
            "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,"
            " SymInt pooled_width, int sampling_ratio) -> Tensor"
        ),
        "roi_align_backward": (
            "(Tensor grad, Tensor rois, float spatial_scale, SymInt batch_size, SymInt channels,"
            " SymInt height, SymInt width, int sampling_ratio) -> Tensor"
        ),
        "sigmoid_focal_loss": (
            "(Tensor logits, Tensor targets, float gamma, float alpha) -> Tensor"
        ),
        "sigmoid_focal_loss_backward": (
            "(Tensor grad, Tensor logits, Tensor targets, float gamma, float alpha) -> Tensor"
        ),
    }
)
"""Operator name -> schema without the name; csrc/library.cpp must say the same (tested)."""

OPS_VARIABLE = "CENTERMASK_OPS"
"""Environment variable; "reference" leaves a compiled library unused."""

_MINIMUM_TORCH = (2, 10)
_BUILD_HINT = "build it with `python setup.py build_ext --inplace` (see INSTALL.md)"


class OpsStatus(NamedTuple):
    """Which operators are in use, and why."""

    compiled: bool
    cuda: bool
    library: str | None
    reason: str


def _find_library() -> Path | None:
    candidates = sorted(Path(__file__).parents[1].glob("_C*.so"))
    return candidates[0] if candidates else None


def _schema_differences() -> list[str]:
    differences = []
    for name, schema in SCHEMAS.items():
        wanted = torch._C.parse_schema(f"{NAMESPACE}::{name}{schema}")
        packet = getattr(getattr(torch.ops, NAMESPACE), name, None)
        if packet is None or str(packet.default._schema) != str(wanted):
            differences.append(name)
    return differences


def _load_library() -> OpsStatus:
    library = _find_library()
    if os.environ.get(OPS_VARIABLE) == "reference":
        return OpsStatus(False, False, None, f"{OPS_VARIABLE}=reference asks for it")
    if library is None:
        return OpsStatus(False, False, None, f"no compiled library was found; {_BUILD_HINT}")
    installed = version("torch")
    if tuple(int(part) for part in installed.split(".")[:2]) < _MINIMUM_TORCH:
        minimum = ".".join(map(str, _MINIMUM_TORCH))
        reason = f"torch {installed} is older than {minimum}, the first that {library} can load in"
        return OpsStatus(False, False, None, reason)
    try:
        torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except OSError as error:
        return OpsStatus(False, False, None, f"{library} does not load: {error}")
    if stale := _schema_differences():
        message = f"{library} was built from other sources ({', '.join(stale)}); {_BUILD_HINT}"
        raise ImportError(message)
    cuda = torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::nms_keep", "CUDA")
    return OpsStatus(True, cuda, str(library), "the compiled library is loaded")


STATUS = _load_library()
"""Outcome of the one attempt to load the compiled library."""

if not STATUS.compiled and os.environ.get(OPS_VARIABLE) != "reference":
    warnings.warn(
        f"operators run as plain PyTorch, more slowly: {STATUS.reason}",
        RuntimeWarning,
        stacklevel=2,
    )

_LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]


def _register_references() -> None:
    for name, schema in SCHEMAS.items():
        if not STATUS.compiled:
            _LIBRARY.define(name + schema)  # type: ignore[no-untyped-call]
        # Kernels of a device, such as the compiled ones, take precedence over this key.
        twin = getattr(_reference, name)
        _LIBRARY.impl(name, twin, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]


_register_references()


def _register_fake(name: str, function: Callable[..., Tensor]) -> None:
    torch.library.register_fake(f"{NAMESPACE}::{name}", function, lib=_LIBRARY)


def _fake_nms_keep(boxes: Tensor, labels: Tensor | None, threshold: float) -> Tensor:
    del labels, threshold
    return boxes.new_empty(boxes.shape[0], dtype=torch.bool)


def _fake_roi_align(
    input: Tensor, rois: Tensor, scale: float, pooled_height: int, pooled_width: int, ratio: int
) -> Tensor:
    del scale, ratio
    return input.new_empty(rois.shape[0], input.shape[1], pooled_height, pooled_width)


def _fake_roi_align_backward(
    grad: Tensor, rois: Tensor, scale: float, n: int, c: int, h: int, w: int, ratio: int
) -> Tensor:
    del rois, scale, ratio
    return grad.new_empty(n, c, h, w)


def _fake_focal_loss(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    del targets, gamma, alpha
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _fake_focal_loss_backward(
    grad: Tensor, logits: Tensor, targets: Tensor, gamma: float, alpha: float
) -> Tensor:
    del grad
    return _fake_focal_loss(logits, targets, gamma, alpha)


def _register_fakes() -> None:
    _register_fake("nms_keep", _fake_nms_keep)
    _register_fake("roi_align", _fake_roi_align)
    _register_fake("roi_align_backward", _fake_roi_align_backward)
    _register_fake("sigmoid_focal_loss", _fake_focal_loss)
    _register_fake("sigmoid_focal_loss_backward", _fake_focal_loss_backward)


_register_fakes()


class _Context(Protocol):
    """What a forward pass leaves for its derivative."""

    spatial_scale: float
    sampling_ratio: int
    input_shape: torch.Size
    pooled_hw: torch.Size
    gamma: float
    alpha: float
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


_Inputs: TypeAlias = tuple[Any, ...]


def _save_roi_align(ctx: _Context, inputs: _Inputs, output: Tensor) -> None:
    del output
    input, rois, ctx.spatial_scale, _, _, ctx.sampling_ratio = inputs
    ctx.save_for_backward(rois)
    ctx.input_shape = input.shape


def _differentiate_roi_align(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    (rois,) = ctx.saved_tensors
    shape, scale, ratio = ctx.input_shape, ctx.spatial_scale, ctx.sampling_ratio
    grad_input = torch.ops.centermask.roi_align_backward(grad, rois, scale, *shape, ratio)
    return grad_input, None, None, None, None, None


def _save_roi_align_backward(ctx: _Context, inputs: _Inputs, output: Tensor) -> None:
    del output
    grad, rois, ctx.spatial_scale, _, _, _, _, ctx.sampling_ratio = inputs
    ctx.save_for_backward(rois)
    ctx.pooled_hw = grad.shape[2:]


def _differentiate_roi_align_backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    # Both directions are linear and transposes of each other.
    (rois,) = ctx.saved_tensors
    scale, ratio = ctx.spatial_scale, ctx.sampling_ratio
    grad_grad = torch.ops.centermask.roi_align(grad, rois, scale, *ctx.pooled_hw, ratio)
    return grad_grad, None, None, None, None, None, None, None


def _save_focal_loss(ctx: _Context, inputs: _Inputs, output: Tensor) -> None:
    del output
    logits, targets, ctx.gamma, ctx.alpha = inputs
    ctx.save_for_backward(logits, targets)


def _differentiate_focal_loss(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    logits, targets = ctx.saved_tensors
    backward = torch.ops.centermask.sigmoid_focal_loss_backward
    return backward(grad, logits, targets, ctx.gamma, ctx.alpha), None, None, None


def _refuse_second_derivative(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    del ctx, grad
    raise NotImplementedError("sigmoid_focal_loss has no second derivative")


def _register_derivatives() -> None:
    for name, backward, save in (
        ("roi_align", _differentiate_roi_align, _save_roi_align),
        ("roi_align_backward", _differentiate_roi_align_backward, _save_roi_align_backward),
        ("sigmoid_focal_loss", _differentiate_focal_loss, _save_focal_loss),
        ("sigmoid_focal_loss_backward", _refuse_second_derivative, None),
    ):
        torch.library.register_autograd(
            f"{NAMESPACE}::{name}", backward, setup_context=save, lib=_LIBRARY
        )


_register_derivatives()


def _register_autocast() -> None:
    # Areas and focal weights leave the range of half precision: compute in float32.
    for name in ("nms_keep", "roi_align", "sigmoid_focal_loss"):
        for device_type in ("cpu", "cuda"):
            torch.library.register_autocast(
                f"{NAMESPACE}::{name}", device_type, torch.float32, lib=_LIBRARY
            )


_register_autocast()


def ops_status() -> OpsStatus:
    """Which operators are in use (compiled or reference), for which devices, and why."""
    return STATUS
