"""Cases of ``roi_pool`` and ``roi_pool_backward``: CUDA kernels run 256 threads a block."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, far_apart, seeded
from tests.layers.op_cases.roi_align import features, random_rois, rois
from tests.layers.twins import TWINS

NAN, INF = float("nan"), float("inf")


class Call(NamedTuple):
    """Arguments of ``roi_pool``, in order."""

    input: Tensor
    rois: Tensor
    spatial_scale: float = 0.25
    pooled_height: int = 3
    pooled_width: int = 2


def _ordinary(count: int, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda t: Call(features(t), random_rois(count, t), **rest)


def _odd(*corners: tuple[float, float, float, float], **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda t: Call(features(t), rois(t, *corners), **rest)


def _strided(dtype: torch.dtype) -> Call:
    maps = features(dtype, 6, hw=(18, 26))[:, ::2, 4:13, ::2]
    return Call(maps, torch.cat([random_rois(7, dtype)] * 2, dim=1)[:, 1:6].roll(1, 1))


def _channels_last(dtype: torch.dtype, channels: int) -> Call:
    maps = features(dtype, channels).contiguous(memory_format=torch.channels_last)
    return Call(maps, random_rois(7, dtype))


def _ties(dtype: torch.dtype) -> Call:
    # Half of the features are equal, as after a ReLU: the first of them is the largest.
    return Call(features(dtype, 20).clamp(min=0).round(), random_rois(9, dtype))


def _not_numbers(dtype: torch.dtype) -> Call:
    maps = features(dtype, 18)
    maps[0, :, ::3, ::2] = NAN
    maps[1, :, :, ::2] = -INF
    maps[1, 0] = -INF
    maps[1, 1, ::2] = INF
    return Call(maps, random_rois(11, dtype))


_FORWARD: dict[str, Callable[[torch.dtype], Call]] = {
    **{f"{count}-rois": _ordinary(count) for count in (0, 1, 2, 23)},
    "one-bin": _ordinary(9, pooled_height=1, pooled_width=1),
    "7x7": _ordinary(2, pooled_height=7, pooled_width=7),
    "more-bins-than-cells": _ordinary(2, pooled_height=25, pooled_width=31),
    "stride-1": _ordinary(9, spatial_scale=1.0),
    "tiny-scale": _ordinary(9, spatial_scale=1e-3),
    # A thread a value: around one block, and around all blocks of one pass.
    **{
        f"{count}-values": lambda t, n=count: Call(features(t, 1), random_rois(n, t), 0.25, 1, 1)
        for count in (255, 256, 257, 767, 768, 769)
    },
    # Around the vectors that the CPU kernel works in.
    **{
        f"{channels}-channels": lambda t, c=channels: Call(features(t, c), random_rois(5, t))
        for channels in (8, 15, 16, 17, 32, 33, 48)
    },
    **{f"channels-last-{c}": lambda t, c=c: _channels_last(t, c) for c in (1, 5, 16, 64)},
    "strided": _strided,
    "ties": _ties,
    "not-numbers": _not_numbers,
    **{
        f"axis-{axis}-far-apart": lambda t, axis=axis: Call(
            far_apart(features(t, 2, hw=(2, 2)), axis), random_rois(5, t), 1 / 16
        )
        for axis in range(4)
    },
    "no-channels": lambda t: Call(features(t, 0), random_rois(3, t)),
    "no-images": lambda t: Call(features(t, 3, 0), random_rois(0, t)),
    "no-map": lambda t: Call(features(t, hw=(0, 5)), random_rois(0, t)),
    "one-cell": lambda t: Call(features(t, hw=(1, 1)), random_rois(5, t), 1.0),
    "one-row": lambda t: Call(features(t, hw=(1, 13)), random_rois(5, t)),
    "halves": _odd((2, 2, 10, 10), (-2, -2, 6, 6), (-6, -6, -2, -2)),
    "degenerate": _odd((5, 5, 5, 5), (9, 9, 3, 3), (0, 0, 0, 30), (30, 3, -5, 9)),
    "outside": _odd((-90, -90, -50, -50), (90, 90, 99, 99), (0, 99, 9, 120), (99, 0, 120, 9)),
    "around-the-map": _odd((-400, -400, 400, 400)),
    "corners-that-are-no-numbers": _odd(
        (NAN, NAN, NAN, NAN), (0, NAN, 9, 9), (0, 0, INF, INF), (-INF, 0, INF, 9), (0, 0, 1e30, 9)
    ),
}


def _backward_of(call: Call) -> tuple[Any, ...]:
    argmax = TWINS.roi_pool(*call)[1]
    grad = torch.randn(argmax.shape, generator=seeded(7), dtype=torch.float64).to(call.input.dtype)
    n, _, h, w = call.input.shape
    return grad, call.rois, argmax, n, h, w


CASES = (
    *(OpCase(name, "roi_pool", call) for name, call in _FORWARD.items()),
    # Up to 769 values meet in a cell, in any order.
    *(
        OpCase(name, "roi_pool_backward", lambda t, c=call: _backward_of(c(t)), tolerance=256)
        for name, call in _FORWARD.items()
    ),
)


def _of_no_image(dtype: torch.dtype) -> Call:
    boxes = rois(dtype, *[(0, 0, 30, 30)] * 4)
    boxes[1:, 0] = torch.tensor([-1.0, 2.0, NAN])
    return Call(torch.ones(2, 3, 9, 13, dtype=dtype), boxes, 0.25, 2, 2)


def _nan_but_the_first(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    _, boxes, *rest = call = _of_no_image(dtype)
    pooled, argmax = TWINS.roi_pool(call.input, boxes[:1], *rest)
    none = pooled.expand(3, -1, -1, -1)
    return torch.cat((pooled, none * NAN)), torch.cat((argmax, torch.full_like(none, -1).long()))


# A kernel cannot raise an error without waiting for the device: what it pools is no number.
CUDA_CASES = (OpCase("of-no-image", "roi_pool", _of_no_image, expected=_nan_but_the_first),)

_MAP, _ROI = torch.zeros(1, 1, 2, 2), torch.zeros(1, 5)
_CELLS = torch.zeros(1, 1, 2, 2).long()


def _forward(name: str, message: str, *arguments: Any) -> Refusal:
    return Refusal(name, "roi_pool", lambda: arguments, message)


def _backward(name: str, message: str, *arguments: Any) -> Refusal:
    return Refusal(name, "roi_pool_backward", lambda: arguments, message)


REFUSALS = (
    _forward("flat-input", r"input: .*got \(1, 1, 2\)", _MAP[..., 0], _ROI, 1.0, 2, 2),
    _forward("four-columns", r"rois: .*\[ \* 5 \], got \(1, 4\)", _MAP, _ROI[:, 1:], 1.0, 2, 2),
    _forward("mixed-types", r"rois: expected Float, got Double", _MAP, _ROI.double(), 1.0, 2, 2),
    _forward("half", r"input: expected float32 or", _MAP.half(), _ROI.half(), 1.0, 2, 2),
    _forward("no-bins", r"positive sides, got 2 x 0", _MAP, _ROI, 1.0, 2, 0),
    _forward(
        "no-map", r"rois: expected none on an empty feature map", _MAP[:, :, :0], _ROI, 1.0, 2, 2
    ),
    _backward(
        "other-grad", r"grad: .*got \(2, 1, 2, 2\)", _MAP.repeat(2, 1, 1, 1), _ROI, _CELLS, 1, 4, 4
    ),
    _backward(
        "other-argmax",
        r"argmax: .*\[ 1 1 2 2 \], got \(1, 1, 2\)",
        _MAP,
        _ROI,
        _CELLS[..., 0],
        1,
        4,
        4,
    ),
    _backward("float-argmax", r"argmax: expected Long, got Float", _MAP, _ROI, _MAP, 1, 4, 4),
    _backward("minus-one-image", r"batch_size: .*-1", _MAP, _ROI, _CELLS, -1, 4, 4),
    _backward("minus-one-row", r"height: .*-1", _MAP, _ROI, _CELLS, 1, -1, 4),
    _backward("minus-one-column", r"width: .*-1", _MAP, _ROI, _CELLS, 1, 4, -1),
    _backward(
        "no-map-behind", r"rois: expected none on an empty feature map", _MAP, _ROI, _CELLS, 1, 0, 4
    ),
)
