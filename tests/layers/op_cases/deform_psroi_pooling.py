"""Cases of ``deform_psroi_pooling`` and its gradient: CUDA kernels run 256 threads a block."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded
from tests.layers.op_cases.roi_align import features, random_rois, rois
from tests.layers.twins import TWINS

NAN, INF = float("nan"), float("inf")


class Call(NamedTuple):
    """Arguments of ``deform_psroi_pooling``, in order."""

    input: Tensor
    rois: Tensor
    offset: Tensor | None
    spatial_scale: float = 0.25
    output_channels: int = 2
    pooled_size: int = 3
    group_size: int = 1
    part_size: int = 3
    samples_per_part: int = 2
    offset_scale: float = 0.1


def call(
    dtype: torch.dtype,
    count: int = 9,
    *,
    classes: int = 1,
    moved: bool = True,
    boxes: tuple[tuple[float, float, float, float], ...] = (),
    hw: tuple[int, int] = (9, 13),
    **settings: Any,
) -> Call:
    """Rois in two images of 9 x 13 cells at stride 4, or ``boxes`` on the first of them."""
    chosen = rois(dtype, *boxes) if boxes else random_rois(count, dtype)
    draft = Call(features(dtype), chosen, None, **settings)
    maps = draft.output_channels * draft.group_size**2
    shape = len(chosen), 2 * classes, draft.part_size, draft.part_size
    offset = torch.randn(shape, generator=seeded(count), dtype=torch.float64).to(dtype)
    return draft._replace(input=features(dtype, maps, hw=hw), offset=offset if moved else None)


def _with(*count: int, **settings: Any) -> Callable[[torch.dtype], Call]:
    return lambda dtype: call(dtype, *count, **settings)


def _no_places(dtype: torch.dtype) -> Call:
    ordinary = call(dtype)
    assert ordinary.offset is not None
    offset = ordinary.offset.clone()
    for step, value in enumerate((NAN, INF, -INF, 1e30)):
        offset.view(-1)[step::7] = value
    return ordinary._replace(offset=offset)


def _rearranged(dtype: torch.dtype, change: Callable[[Tensor], Tensor]) -> Call:
    ordinary = call(dtype)
    assert ordinary.offset is not None
    return ordinary._replace(input=change(ordinary.input), offset=change(ordinary.offset))


_FORWARD: dict[str, Callable[[torch.dtype], Call]] = {
    **{f"{count}-rois": _with(count) for count in (0, 1, 9)},
    "not-moved": _with(moved=False),
    "groups": _with(group_size=2, pooled_size=5),
    "more-groups-than-bins": _with(group_size=3, pooled_size=2),
    "classes": _with(classes=3, output_channels=6),
    "fewer-parts": _with(part_size=2, pooled_size=5),
    "more-parts": _with(part_size=5, pooled_size=2),
    "one-of-all": _with(pooled_size=1, part_size=1, samples_per_part=1, output_channels=1),
    "many-samples": _with(samples_per_part=5),
    "far": _with(offset_scale=3.0),
    # A thread a value: around one block, and around all blocks of one pass.
    **{
        f"{count}-values": _with(count, output_channels=1, pooled_size=1)
        for count in (255, 256, 257, 769)
    },
    "one-cell": _with(hw=(1, 1), spatial_scale=1.0),
    "one-row": _with(hw=(1, 13)),
    "halves": _with(boxes=((2.5, 2.5, 10.5, 10.5), (-0.5, -2.5, 6.5, 6.5))),
    "degenerate": _with(boxes=((5, 5, 5, 5), (9, 9, 3, 3), (0, 0, 0, 30), (30, 3, -5, 9))),
    "outside": _with(boxes=((-90, -90, -50, -50), (90, 90, 99, 99), (0, 99, 9, 120))),
    "around-the-map": _with(boxes=((-400, -400, 400, 400),)),
    "corners-that-are-no-numbers": _with(
        boxes=((NAN, NAN, NAN, NAN), (0, NAN, 9, 9), (0, 0, INF, INF), (-INF, 0, INF, 9))
    ),
    "offsets-that-are-no-places": _no_places,
    "channels-last": lambda t: _rearranged(
        t, lambda x: x.contiguous(memory_format=torch.channels_last)
    ),
    "expanded": lambda t: _rearranged(t, lambda x: x[:1, :1].expand(x.shape)),
    "no-map": lambda t: call(t, 0, hw=(0, 5)),
}


def _backward_of(forward: Call) -> tuple[Any, ...]:
    shape = len(forward.rois), forward.output_channels, forward.pooled_size, forward.pooled_size
    grad = torch.randn(shape, generator=seeded(7), dtype=torch.float64)
    return grad.to(forward.input.dtype), *forward


CASES = (
    # Places within an epsilon of each other differ by as much times the side of the map.
    *(OpCase(name, "deform_psroi_pooling", call, tolerance=512) for name, call in _FORWARD.items()),
    *(
        OpCase(
            name,
            "deform_psroi_pooling_backward",
            lambda t, c=call: _backward_of(c(t)),
            tolerance=4096,
        )
        for name, call in _FORWARD.items()
    ),
)


def _of_no_image(dtype: torch.dtype) -> Call:
    ordinary = call(dtype, 5)
    boxes = ordinary.rois.clone()
    boxes[1:, 0] = torch.tensor([-1, 2, NAN, INF], dtype=dtype)
    return ordinary._replace(rois=boxes)


def _first_of(forward: Call) -> Call:
    assert forward.offset is not None
    return forward._replace(rois=forward.rois[:1], offset=forward.offset[:1])


def _nan_but_the_first(dtype: torch.dtype) -> Tensor:
    pooled = torch.full((5, 2, 3, 3), NAN, dtype=dtype)
    pooled[0] = TWINS.deform_psroi_pooling(*_first_of(_of_no_image(dtype)))
    return pooled


def _gradients_of_the_first(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    grad, *_ = _backward_of(_of_no_image(dtype))
    first = _first_of(_of_no_image(dtype))
    of_input, of_offset = TWINS.deform_psroi_pooling_backward(grad[:1], *first)
    return of_input, torch.cat((of_offset, of_offset.new_zeros(4, *of_offset.shape[1:])))


# A kernel cannot raise an error without waiting for the device: what it pools is no number.
CUDA_CASES = (
    OpCase(
        "of-no-image",
        "deform_psroi_pooling",
        _of_no_image,
        tolerance=512,
        expected=_nan_but_the_first,
    ),
    OpCase(
        "of-no-image",
        "deform_psroi_pooling_backward",
        lambda t: _backward_of(_of_no_image(t)),
        tolerance=4096,
        expected=_gradients_of_the_first,
    ),
)


def _refusal(name: str, message: str, **changes: Any) -> Refusal:
    ordinary = Call(torch.zeros(1, 2, 5, 5), torch.zeros(1, 5), torch.zeros(1, 2, 3, 3))
    operator = "deform_psroi_pooling"
    if "grad" in changes:
        grad = changes["grad"]
        return Refusal(name, f"{operator}_backward", lambda: (grad, *ordinary), message)
    return Refusal(name, operator, lambda: tuple(ordinary._replace(**changes)), message)


_MAP, _ROI, _OFFSET = torch.zeros(1, 2, 5, 5), torch.zeros(1, 5), torch.zeros(1, 2, 3, 3)

REFUSALS = (
    _refusal("short-grad", r"grad: .*\[ 1 2 3 3 \], got \(1, 2, 3, 2\)", grad=_OFFSET[..., 1:]),
    _refusal("double-grad", r"grad: expected Float, got Double", grad=_OFFSET.double()),
    _refusal("flat-input", r"input: .*got \(2, 5, 5\)", input=_MAP[0]),
    _refusal("one-channel", r"input: .*\[ \* 2 \* \* \], got \(1, 1, 5, 5\)", input=_MAP[:, :1]),
    _refusal("half-input", r"rois: expected Half, got Float", input=_MAP.half()),
    _refusal("four-columns", r"rois: .*\[ \* 5 \], got \(1, 4\)", rois=_ROI[:, 1:]),
    _refusal("no-map", r"rois: expected none on an empty feature map", input=_MAP[:, :, :0]),
    _refusal("other-parts", r"offset: .*\[ 1 \* 3 3 \], got", offset=_OFFSET[..., 1:]),
    _refusal("odd-offset", r"offset: expected two maps", offset=_OFFSET[:, :1]),
    _refusal("three-classes", r"offset: expected two maps", offset=_OFFSET.repeat(1, 3, 1, 1)),
    _refusal("double-offset", r"offset: expected Float, got Double", offset=_OFFSET.double()),
    *(
        _refusal(f"no-{name}", rf"{name}: expected a positive number, .*got 0", **{name: 0})
        for name in (
            "output_channels",
            "pooled_size",
            "group_size",
            "part_size",
            "samples_per_part",
        )
    ),
)
