"""What an operator is made of, and how it enters PyTorch."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

NAMESPACE = "centermask"
"""Namespace of the operators under torch.ops."""

Gradients: TypeAlias = tuple[Tensor | None, ...]
Inputs: TypeAlias = tuple[Any, ...]
"""Arguments of a call, as autograd hands them to ``setup_context``."""


class Context(Protocol):
    """What ``setup_context`` leaves for ``backward``: tensors, and in ``settings`` all else."""

    settings: Sequence[Any]
    saved_tensors: tuple[Any, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...
    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...
    def set_materialize_grads(self, value: bool) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator ``torch.ops.centermask.<name>``.

    Attributes:
        name: its name.
        schema: its schema without the name; csrc/ must say the same (tested).
        reference: plain PyTorch twin, used where no kernel is compiled for the device.
        fake: result without values: shapes and types alone.
        backward: (ctx, *gradients) -> gradients of the arguments, or None without a derivative.
        setup_context: (ctx, inputs, output) -> None, keeps what ``backward`` needs.
        in_float32: whether autocast computes it in float32.
        atomic_backward: whether its backward pass on CUDA adds with atomics.
    """

    name: str
    schema: str
    reference: Callable[..., Any]
    fake: Callable[..., Any]
    backward: Callable[..., Gradients] | None = None
    setup_context: Callable[..., None] | None = None
    in_float32: bool = False
    atomic_backward: bool = False

    def register(
        self,
        library: torch.library.Library,
        *,
        define: bool,
        before_cuda: Callable[[], None] | None = None,
    ) -> None:
        """Enter the operator into PyTorch.

        Args:
            library: owner of the registrations; they last as long as it does.
            define: also define the schema, which a compiled library has done already.
            before_cuda: called whenever the plain twin is about to compute CUDA tensors.
        """
        qualified = f"{NAMESPACE}::{self.name}"
        if define:
            library.define(self.name + self.schema)  # type: ignore[no-untyped-call]
        # Kernels of a device, such as the compiled ones, take precedence over this key.
        twin = self._on_one_device(self.reference)
        library.impl(self.name, twin, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
        if before_cuda is not None:
            library.impl(self.name, _announced(twin, before_cuda), "CUDA")  # type: ignore[no-untyped-call]
        torch.library.register_fake(qualified, self._on_one_device(self.fake), lib=library)
        if self.backward is not None:
            backward = self.backward
            if self.atomic_backward:
                backward = with_alert_on_cuda(self.name, backward)
            torch.library.register_autograd(
                qualified, backward, setup_context=self.setup_context, lib=library
            )
        if self.in_float32:
            for device_type in ("cpu", "cuda"):
                torch.library.register_autocast(qualified, device_type, torch.float32, lib=library)

    def _on_one_device(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` for tensors of one device; PyTorch calls it when any of them is there."""
        schema = torch._C.parse_schema(f"{NAMESPACE}::{self.name}{self.schema}")
        names = [argument.name for argument in schema.arguments]

        @wraps(function)
        def checked(*arguments: Any) -> Any:  # noqa: ANN401 - whatever the function takes
            tensors = [
                (name, tensor)
                for name, argument in zip(names, arguments, strict=False)
                for tensor in (argument if isinstance(argument, list) else [argument])
                if isinstance(tensor, Tensor)
            ]
            (first, leader), *others = tensors
            for name, tensor in others:
                if tensor.device != leader.device:
                    wanted = f"{leader.device}, as {first}"
                    raise ValueError(f"{name}: expected a tensor on {wanted}, got {tensor.device}")
            return function(*arguments)

        return checked


def keep_inputs(num_tensors: int) -> Callable[[Context, Inputs, object], None]:
    """A ``setup_context`` that saves the first inputs, tensors or None, and keeps the settings."""

    def keep(ctx: Context, inputs: Inputs, output: object) -> None:
        del output
        ctx.save_for_backward(*inputs[:num_tensors])
        ctx.settings = inputs[num_tensors:]

    return keep


def _announced(function: Callable[..., Any], announce: Callable[[], None]) -> Callable[..., Any]:
    def announced(*arguments: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        announce()
        return function(*arguments)

    return announced


def with_alert_on_cuda(name: str, backward: Callable[..., Any]) -> Callable[..., Any]:
    """``backward`` of the operator ``name``, whose CUDA kernel adds with atomics.

    On CUDA it does what ``torch.use_deterministic_algorithms`` asks for: nothing, warn or raise.
    """

    @wraps(backward)
    def alerting(ctx: Any, *grads: Tensor | None) -> Any:  # noqa: ANN401 - as ``backward``
        if any(grad is not None and grad.is_cuda for grad in grads):
            _alert_not_deterministic(f"the backward pass of {name} on CUDA")
        return backward(ctx, *grads)

    return alerting


def _alert_not_deterministic(what: str) -> None:
    if not torch.are_deterministic_algorithms_enabled():
        return
    text = (
        f"{what} adds in an order that changes from run to run, but "
        "torch.use_deterministic_algorithms(True) was called; allow it with "
        "torch.use_deterministic_algorithms(True, warn_only=True)"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(text)
    warnings.warn(text, stacklevel=2)


def no_derivative(name: str) -> Callable[..., Gradients]:
    """The ``backward`` of the operator ``name``, which is for inference alone."""
    return _refusing(f"{name} has no derivative")


def no_second_derivative(name: str) -> Callable[..., Gradients]:
    """The ``backward`` of the backward pass of ``name``, which cannot be differentiated again."""
    return _refusing(f"{name} has no second derivative")


def _refusing(text: str) -> Callable[..., Gradients]:
    def refuse(ctx: Context, *grads: Tensor) -> Gradients:
        del ctx, grads
        raise NotImplementedError(text)

    return refuse
