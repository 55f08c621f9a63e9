"""Cases of ``deform_conv`` and ``deform_conv_backward``: CUDA kernels run 256 threads a block."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded

NAN, INF = float("nan"), float("inf")


class Call(NamedTuple):
    """Arguments of ``deform_conv``, in order."""

    input: Tensor
    offset: Tensor
    mask: Tensor | None
    weight: Tensor
    stride: list[int]
    padding: list[int]
    dilation: list[int]


def call(
    dtype: torch.dtype,
    *,
    images: int = 2,
    channels: int = 4,
    outputs: int = 4,
    hw: tuple[int, int] = (5, 6),
    kernel: tuple[int, int] = (3, 2),
    groups: int = 1,
    parts: int = 1,
    modulated: bool = True,
    geometry: tuple[list[int], list[int], list[int]] = ([2, 1], [1, 2], [1, 2]),
) -> Call:
    """Offsets of some cells, within and beyond the border."""
    generator = seeded(channels + 7 * images)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    out_hw = [
        (hw[i] + 2 * geometry[1][i] - geometry[2][i] * (kernel[i] - 1) - 1) // geometry[0][i] + 1
        for i in range(2)
    ]
    maps = parts * kernel[0] * kernel[1]
    return Call(
        draw(images, channels, *hw),
        2 * draw(images, 2 * maps, *out_hw),
        draw(images, maps, *out_hw) if modulated else None,
        draw(outputs, channels // groups, *kernel),
        *geometry,
    )


def _with(**settings: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call(dtype, **settings)


def _whole_offsets(dtype: torch.dtype) -> Call:
    ordinary = call(dtype, modulated=False)
    return ordinary._replace(offset=ordinary.offset.round())


def _no_places(dtype: torch.dtype) -> Call:
    ordinary = call(dtype)
    offset = ordinary.offset.clone()
    for step, value in enumerate((NAN, INF, -INF, 1e30, -1e30, 3e38)):
        offset.view(-1)[step::11] = value
    return ordinary._replace(offset=offset)


def _rearranged(dtype: torch.dtype, change: Callable[[Tensor], Tensor]) -> Call:
    ordinary = call(dtype)
    assert ordinary.mask is not None
    return ordinary._replace(
        input=change(ordinary.input),
        offset=change(ordinary.offset),
        mask=change(ordinary.mask),
        weight=change(ordinary.weight),
    )


_FORWARD: dict[str, Callable[[torch.dtype], Call]] = {
    "modulated": _with(),
    "not-modulated": _with(modulated=False),
    **{
        f"{c}-channels-{groups}-groups-{parts}-parts": _with(
            channels=c, outputs=2 * groups, groups=groups, parts=parts
        )
        for c, groups, parts in (
            (1, 1, 1),
            (17, 1, 1),
            (64, 1, 2),
            (70, 1, 1),
            (72, 2, 3),
            (8, 8, 4),
        )
    },
    "plain-3x3": _with(kernel=(3, 3), geometry=([1, 1], [1, 1], [1, 1])),
    "pointwise": _with(kernel=(1, 1), geometry=([1, 1], [0, 0], [1, 1])),
    "one-location": _with(hw=(3, 2), geometry=([1, 1], [0, 0], [1, 1])),
    "one-cell": _with(hw=(1, 1), kernel=(3, 3), geometry=([1, 1], [1, 1], [1, 1])),
    # More locations than columns are made for at a time, and more values than one pass has threads.
    "many-locations": _with(hw=(13, 17), channels=8),
    "no-images": _with(images=0),
    "no-outputs": _with(outputs=0),
    "whole-offsets": _whole_offsets,
    "offsets-that-are-no-places": _no_places,
    "channels-last": lambda t: _rearranged(
        t, lambda x: x.contiguous(memory_format=torch.channels_last)
    ),
    "strided": lambda t: _rearranged(t, lambda x: torch.stack((x, x), dim=-1)[..., 0]),
    "expanded": lambda t: _rearranged(t, lambda x: x[:1, :1].expand(x.shape)),
}


def _backward_of(forward: Call) -> tuple[Any, ...]:
    images, outputs = len(forward.input), len(forward.weight)
    shape = images, outputs, *forward.offset.shape[2:]
    grad = torch.randn(shape, generator=seeded(7), dtype=torch.float64)
    return grad.to(forward.input.dtype), *forward


CASES = (
    *(OpCase(name, "deform_conv", call, tolerance=256) for name, call in _FORWARD.items()),
    *(
        OpCase(name, "deform_conv_backward", lambda t, c=call: _backward_of(c(t)), tolerance=2048)
        for name, call in _FORWARD.items()
    ),
)


def _refusal(name: str, message: str, **changes: Any) -> Refusal:
    ordinary = {
        "grad": torch.zeros(1, 4, 5, 5),
        "input": torch.zeros(1, 4, 5, 5),
        "offset": torch.zeros(1, 18, 5, 5),
        "mask": torch.zeros(1, 9, 5, 5),
        "weight": torch.zeros(4, 2, 3, 3),
        "stride": [1, 1],
        "padding": [1, 1],
        "dilation": [1, 1],
    }
    arguments = tuple({**ordinary, **changes}.values())
    if "grad" in changes:
        return Refusal(name, "deform_conv_backward", lambda: arguments, message)
    return Refusal(name, "deform_conv", lambda: arguments[1:], message)


_MAP, _WEIGHT = torch.zeros(1, 4, 5, 5), torch.zeros(4, 2, 3, 3)

REFUSALS = (
    _refusal("short-grad", r"grad: .*\[ 1 4 5 5 \], got \(1, 4, 5, 4\)", grad=_MAP[..., 1:]),
    _refusal("double-grad", r"grad: expected Float, got Double", grad=_MAP.double()),
    _refusal("flat-input", r"input: .*got \(4, 5, 5\)", input=_MAP[0]),
    _refusal("half-input", r"offset: expected Half, got Float", input=_MAP.half()),
    _refusal("three-channels", r"weight: .*divide 3 input channels", input=_MAP[:, 1:]),
    _refusal("three-outputs", r"weight: .*divide 4 input channels", weight=_WEIGHT[1:]),
    _refusal("flat-weight", r"weight: .*got \(4, 2, 3\)", weight=_WEIGHT[..., 0]),
    _refusal("no-taps", r"weight: expected at least one tap", weight=_WEIGHT[:, :, :0]),
    _refusal(
        "no-room",
        r"input: .*at least one output, got \(1, 4, 5, 5\)",
        padding=[1, 1],
        dilation=[4, 1],
    ),
    _refusal("short-offset", r"offset: .*\[ 1 \* 5 5 \], got", offset=torch.zeros(1, 18, 5, 4)),
    _refusal("odd-offset", r"offset: expected 18 maps", offset=torch.zeros(1, 17, 5, 5)),
    _refusal("three-parts", r"offset: expected 18 maps", offset=torch.zeros(1, 54, 5, 5)),
    _refusal("two-parts-of-mask", r"mask: .*\[ 1 9 5 5 \], got", mask=torch.zeros(1, 18, 5, 5)),
    _refusal(
        "double-mask", r"mask: expected Float, got Dou", mask=torch.zeros(1, 9, 5, 5).double()
    ),
    _refusal("no-stride", r"stride: expected two numbers of at least 1", stride=[0, 1]),
    _refusal("less-padding", r"padding: expected two numbers of at least 0", padding=[0, -1]),
    _refusal("no-dilation", r"dilation: expected two numbers of at least 1", dilation=[1, 0]),
)
