"""Cases of ``paste_masks_rle``, which is an operator of the CPU and of float32 only."""

from collections.abc import Callable
from typing import Any

import torch

from tests.layers.op_cases.case import OpCase, Refusal, seeded

NAN, INF = float("nan"), float("inf")


def _pasted(
    count: int,
    side: int = 14,
    image_hw: tuple[int, int] = (40, 50),
    threshold: float = 0.5,
    padding: int = 1,
    largest: float = 60.0,
) -> Callable[[torch.dtype], tuple[Any, ...]]:
    def arguments(dtype: torch.dtype) -> tuple[Any, ...]:
        del dtype
        masks = torch.rand(count, side, side, generator=seeded(count))
        numbers = torch.rand(count, 4, generator=seeded(side))
        corners = numbers[:, :2] * 80 - 20
        boxes = torch.cat((corners, corners + numbers[:, 2:] * largest), dim=1)
        return masks, boxes, *image_hw, threshold, padding

    return arguments


def _odd_boxes(dtype: torch.dtype) -> tuple[Any, ...]:
    del dtype
    boxes = [(5, 5, 5, 5), (9, 9, 3, 3), (-90, -90, -50, -50), (90, 0, 99, 9), (-1e6, 0, 1e6, 9)]
    masks = torch.full((5, 3, 3), 0.75)
    masks[1] = NAN
    return masks, torch.tensor(boxes, dtype=torch.float32), 20, 30, 0.5, 1


_CALLS: dict[str, Callable[[torch.dtype], tuple[Any, ...]]] = {
    **{f"{count}-masks": _pasted(count) for count in (0, 1, 9)},
    **{f"side-{side}": _pasted(4, side) for side in (1, 2, 28)},
    **{f"image-{h}x{w}": _pasted(4, 7, (h, w)) for h, w in ((0, 0), (1, 1), (1, 60), (60, 1))},
    **{f"threshold-{x}": _pasted(4, threshold=x) for x in (-1.0, 0.0, 1.0)},
    "no-padding": _pasted(4, padding=0),
    "padded-much": _pasted(4, padding=5),
    "tiny": _pasted(9, largest=0.5),
    "large": _pasted(3, 28, (700, 900), largest=2000.0),
    "odd-boxes": _odd_boxes,
}

CASES = tuple(OpCase(name, "paste_masks_rle", call) for name, call in _CALLS.items())

_BOXES = torch.zeros(1, 4)

REFUSALS = (
    Refusal(
        "oblong-masks",
        "paste_masks_rle",
        lambda: (torch.zeros(1, 3, 4), _BOXES, 9, 9, 0.5, 1),
        r"masks: .*got \(1, 3, 4\)",
    ),
    Refusal(
        "too-few-boxes",
        "paste_masks_rle",
        lambda: (torch.zeros(2, 3, 3), _BOXES, 9, 9, 0.5, 1),
        r"boxes: .*\[ 2 4 \], got \(1, 4\)",
    ),
    Refusal(
        "infinite-box",
        "paste_masks_rle",
        lambda: (torch.zeros(1, 3, 3), _BOXES + INF, 9, 9, 0.5, 1),
        r"boxes: .*finite",
    ),
    Refusal(
        "negative-image",
        "paste_masks_rle",
        lambda: (torch.zeros(1, 3, 3), _BOXES, -9, 9, 0.5, 1),
        r"-9",
    ),
    Refusal(
        "negative-padding",
        "paste_masks_rle",
        lambda: (torch.zeros(1, 3, 3), _BOXES, 9, 9, 0.5, -1),
        r"padding: .*got -1",
    ),
)
