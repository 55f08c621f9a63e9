"""Cases of ``roi_align`` and ``roi_align_backward``: CUDA kernels run 256 threads a block."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, far_apart, seeded
from tests.layers.twins import TWINS

NAN, INF = float("nan"), float("inf")


class Call(NamedTuple):
    """Arguments of ``roi_align``, in order."""

    input: Tensor
    rois: Tensor
    spatial_scale: float = 0.25
    pooled_height: int = 3
    pooled_width: int = 2
    sampling_ratio: int = 2
    aligned: bool = False


def features(dtype: torch.dtype, channels: int = 3, images: int = 2, hw: Any = (9, 13)) -> Tensor:
    """Maps (images, channels, *hw)."""
    shape = (images, channels, *hw)
    return torch.randn(shape, generator=seeded(channels), dtype=torch.float64).to(dtype)


def random_rois(count: int, dtype: torch.dtype, images: int = 2) -> Tensor:
    """Rois inside, across and beyond the border of maps of 9 x 13 cells at stride 4."""
    numbers = torch.rand(count, 5, generator=seeded(count), dtype=torch.float64)
    corners = numbers[:, 1:3] * 80 - 15
    boxes = torch.cat((corners, corners + numbers[:, 3:] * 40), dim=1)
    return torch.cat(((numbers[:, :1] * images).floor(), boxes), dim=1).to(dtype)


def rois(dtype: torch.dtype, *corners: tuple[float, float, float, float]) -> Tensor:
    """Rois on the first image."""
    return torch.tensor([[0.0, *box] for box in corners], dtype=dtype)


def _ordinary(count: int, **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda t: Call(features(t), random_rois(count, t), **rest)


def _odd(*corners: tuple[float, float, float, float], **rest: Any) -> Callable[[torch.dtype], Call]:
    return lambda t: Call(features(t), rois(t, *corners), **rest)


def _channels_last(dtype: torch.dtype, channels: int) -> Call:
    maps = features(dtype, channels).contiguous(memory_format=torch.channels_last)
    return Call(maps, random_rois(7, dtype))


def _bfloat16(dtype: torch.dtype, channels: int, layout: torch.memory_format) -> Call:
    """Features of 16 bits where the others are of 32; bins with and without rows in common."""
    stored = torch.bfloat16 if dtype == torch.float32 else dtype
    maps = features(dtype, channels).to(stored).contiguous(memory_format=layout)
    return Call(maps, torch.cat((random_rois(7, dtype), rois(dtype, (0, 0, 50, 35)))))


def _strided(dtype: torch.dtype) -> Call:
    maps = features(dtype, 6, hw=(18, 26))[:, ::2, 4:13, ::2]
    return Call(maps, torch.cat([random_rois(7, dtype)] * 2, dim=1)[:, 1:6].roll(1, 1))


def _border(dtype: torch.dtype) -> Call:
    # Samples right at -1 and at the length of the map, and just beyond.
    boxes = [(-2, -2, 0, 0), (8, 8, 10, 10), (12, 8, 14, 10), (-2.5, -2.5, 0, 0), (9, 9, 9, 9)]
    return Call(features(dtype), rois(dtype, *boxes), 1.0, 2, 2, 1)


def _infinite_features(dtype: torch.dtype) -> Call:
    # Samples on whole cells, so that the cells after them weigh nothing; and no samples at all.
    maps = torch.ones(1, 2, 5, 5, dtype=dtype)
    maps[:, :, 3:] = INF
    maps[:, :, :, 3:] = NAN
    maps[:, :, 0, 0] = NAN
    corners = (0.5, 0.5, 2.5, 2.5), (NAN, NAN, NAN, NAN), (-9, -9, -5, -5)
    return Call(maps, rois(dtype, *corners), 1.0, 2, 2, 1)


_FORWARD: dict[str, Callable[[torch.dtype], Call]] = {
    **{f"{count}-rois": _ordinary(count) for count in (0, 1, 2, 23)},
    **{f"ratio-{ratio}": _ordinary(9, sampling_ratio=ratio) for ratio in (-1, 0, 1, 3)},
    "one-bin": _ordinary(9, pooled_height=1, pooled_width=1),
    "14x14": _ordinary(2, pooled_height=14, pooled_width=14),
    "stride-1": _ordinary(9, spatial_scale=1.0, sampling_ratio=0),
    "tiny-scale": _ordinary(9, spatial_scale=1e-3, sampling_ratio=0),
    # A thread a value: around one block, and around all blocks of one pass.
    **{
        f"{count}-values": lambda t, n=count: Call(features(t, 1), random_rois(n, t), 0.25, 1, 1, 1)
        for count in (255, 256, 257, 767, 768, 769, 1601)
    },
    **{f"channels-last-{c}": lambda t, c=c: _channels_last(t, c) for c in (1, 5, 16, 64)},
    "strided": _strided,
    "expanded": lambda t: Call(features(t, 1, 1).expand(3, 4, 9, 13), random_rois(9, t, 3)),
    # Offsets beyond 32 bits, of the last of two images, channels, rows, columns.
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
    "one-column": lambda t: Call(features(t, hw=(9, 1)), random_rois(5, t), sampling_ratio=0),
    "border": _border,
    "degenerate": _odd((5, 5, 5, 5), (9, 9, 3, 3), (0, 0, 0, 30), (30, 3, -5, 9)),
    "degenerate-adaptive": _odd((5, 5, 5, 5), (9, 9, 3, 3), (0, 0, 0, 30), sampling_ratio=0),
    "outside": _odd((-90, -90, -50, -50), (90, 90, 99, 99), (0, 99, 9, 120), (99, 0, 120, 9)),
    "around-the-map": _odd((-400, -400, 400, 400), sampling_ratio=0),
    "not-numbers": _odd((NAN, NAN, NAN, NAN), (0, NAN, 9, 9), (0, 0, INF, INF), (-INF, 0, INF, 9)),
    "not-numbers-adaptive": _odd(
        (NAN, 0, NAN, 9), (0, 0, INF, INF), (-INF, -INF, 0, 0), (0, 0, 1e38, 9), sampling_ratio=0
    ),
    # Backwards over the whole map, over cells in turn, from infinity; and sides too short for that.
    "inverted": _odd((70, 50, -20, -20), (30, 3, -5, 9), (3, 30, 9, 0), (40, 9, 39.99, 8)),
    "inverted-finely": _odd((40, 30, 2, 2), (2, 30, 40, 2), sampling_ratio=7),
    "inverted-adaptive": _odd((70, 50, -20, -20), (30, 3, -5, 9), (3, 30, 9, 0), sampling_ratio=0),
    "inverted-not-numbers": _odd(
        (INF, 9, 0, 0), (9, 9, -INF, 0), (INF, 9, -INF, 0), (1e38, 9, 0, 0)
    ),
    "inverted-not-numbers-adaptive": _odd(
        (INF, 9, 0, 0), (9, 9, -INF, 30), (INF, 0, -INF, 9), (1e38, 0, 0, 9), sampling_ratio=0
    ),
    "without-length": _odd((8, 8, 8, 30), (9, 9, 9, 9), (-2, 0, -2, 9), (0, 0, 1e-6, 1e-30)),
    "without-length-adaptive": _odd(
        (8, 8, 8, 30), (9, 9, 9, 9), (0, 0, 1e-6, 1e-30), (9, 9, 9.5, 9.5), sampling_ratio=0
    ),
}

_NOT_ALIGNED = re.compile(r"\d+-values|axis-\d-far-apart|[12]-rois|ratio-[13]|channels-last-[15]")
"""What aligned rois do not try again: how values are shared out among threads, wide offsets."""

for _name in [name for name in _FORWARD if not _NOT_ALIGNED.fullmatch(name)]:
    _FORWARD[f"aligned-{_name}"] = lambda t, c=_FORWARD[_name]: c(t)._replace(aligned=True)


def _backward_of(call: Call) -> tuple[Any, ...]:
    shape = (len(call.rois), call.input.shape[1], call.pooled_height, call.pooled_width)
    grad = torch.randn(shape, generator=seeded(7), dtype=torch.float64).to(call.input.dtype)
    return grad, call.rois, call.spatial_scale, *call.input.shape, *call[5:]


def _expanded_grad(dtype: torch.dtype) -> tuple[Any, ...]:
    grad = torch.ones(1, 1, 1, 1, dtype=dtype).expand(9, 3, 4, 5)
    return grad, random_rois(9, dtype), 0.25, 2, 3, 9, 13, 2


CASES = (
    *(OpCase(name, "roi_align", call, tolerance=64) for name, call in _FORWARD.items()),
    # Up to 1601 values meet in a cell, in any order.
    *(
        OpCase(name, "roi_align_backward", lambda t, c=call: _backward_of(c(t)), tolerance=256)
        for name, call in _FORWARD.items()
    ),
    OpCase("expanded-grad", "roi_align_backward", _expanded_grad, tolerance=256),
    OpCase(
        "infinite-features",
        "roi_align",
        _infinite_features,
        expected=lambda t: torch.tensor([1, 0, 0], dtype=t)[:, None, None, None].expand(3, 2, 2, 2),
    ),
)


CPU_CASES = tuple(
    # Numbers rounded to 8 bits may end up as neighbours.
    OpCase(f"bfloat16-{c}-{kind}", "roi_align", lambda t, c=c, w=w: _bfloat16(t, c, w), 2**17)
    for c in (5, 16, 80)
    for kind, w in (("last", torch.channels_last), ("first", torch.contiguous_format))
)


def _of_no_image(dtype: torch.dtype) -> Call:
    boxes = rois(dtype, *[(0, 0, 30, 30)] * 6)
    boxes[1:, 0] = torch.tensor([-1.0, 2.0, NAN, INF, -INF])
    return Call(torch.ones(2, 3, 9, 13, dtype=dtype), boxes, 0.25, 2, 2, 2)


def _nan_but_the_first(dtype: torch.dtype) -> Tensor:
    pooled = torch.full((6, 3, 2, 2), NAN, dtype=dtype)
    pooled[0] = 1.0
    return pooled


def _gradient_of_the_first(dtype: torch.dtype) -> Tensor:
    grad, boxes, *rest = _backward_of(_of_no_image(dtype))
    return TWINS.roi_align_backward(grad[:1], boxes[:1], *rest)


# A kernel cannot raise an error without waiting for the device: what it pools is no number.
CUDA_CASES = (
    OpCase("of-no-image", "roi_align", _of_no_image, expected=_nan_but_the_first),
    OpCase(
        "of-no-image",
        "roi_align_backward",
        lambda t: _backward_of(_of_no_image(t)),
        tolerance=64,
        expected=_gradient_of_the_first,
    ),
)

_MAP = torch.zeros(1, 1, 2, 2)

REFUSALS = (
    Refusal(
        "flat-input",
        "roi_align",
        lambda: (torch.zeros(1, 1, 2), torch.zeros(0, 5), 1.0, 2, 2, 2),
        r"input: .*got \(1, 1, 2\)",
    ),
    Refusal(
        "four-columns",
        "roi_align",
        lambda: (_MAP, torch.zeros(1, 4), 1.0, 2, 2, 2),
        r"rois: .*\[ \* 5 \], got \(1, 4\)",
    ),
    Refusal(
        "mixed-types",
        "roi_align",
        lambda: (_MAP, torch.zeros(1, 5).double(), 1.0, 2, 2, 2),
        r"rois: expected Float, got Double",
    ),
    Refusal(
        "half-precision",
        "roi_align",
        lambda: (_MAP.half(), torch.zeros(1, 5).half(), 1.0, 2, 2, 2),
        r"input: expected .*float32 or float64, got Half",
    ),
    Refusal(
        "empty-map",
        "roi_align",
        lambda: (torch.zeros(1, 1, 0, 2), torch.zeros(1, 5), 1.0, 2, 2, 2),
        r"empty feature map",
    ),
    Refusal(
        "no-bins",
        "roi_align",
        lambda: (_MAP, torch.zeros(1, 5), 1.0, 0, 2, 2),
        r"positive sides, got 0 x 2",
    ),
    Refusal(
        "negative-bins",
        "roi_align",
        lambda: (_MAP, torch.zeros(0, 5), 1.0, 2, -2, 2),
        r"positive sides, got 2 x -2",
    ),
    Refusal(
        "grad-of-other-rois",
        "roi_align_backward",
        lambda: (torch.zeros(2, 1, 2, 2), torch.zeros(1, 5), 1.0, 1, 1, 4, 4, 2),
        r"grad: .*\[ 1 1 \* \* \], got \(2, 1, 2, 2\)",
    ),
    Refusal(
        "grad-of-other-channels",
        "roi_align_backward",
        lambda: (torch.zeros(1, 2, 2, 2), torch.zeros(1, 5), 1.0, 1, 1, 4, 4, 2),
        r"grad: .*\[ 1 1 \* \* \], got \(1, 2, 2, 2\)",
    ),
    Refusal(
        "negative-height",
        "roi_align_backward",
        lambda: (torch.zeros(0, 1, 2, 2), torch.zeros(0, 5), 1.0, 1, 1, -4, 4, 2),
        r"height: expected at least 0, got -4",
    ),
    Refusal(
        "negative-batch",
        "roi_align_backward",
        lambda: (torch.zeros(0, 1, 2, 2), torch.zeros(0, 5), 1.0, -1, 1, 4, 4, 2),
        r"batch_size: expected at least 0, got -1",
    ),
)
