"""Cases of ``nms_keep``: kernels work on tiles of 64 boxes."""

import torch
from torch import Tensor

from tests.layers.op_cases.case import OpCase, Refusal, seeded

NAN, INF = float("nan"), float("inf")


def random_boxes(count: int, dtype: torch.dtype, side: float = 40.0) -> Tensor:
    """Boxes of sides up to ``side`` px with corners in a square of 100 px."""
    numbers = torch.rand(count, 4, generator=seeded(count), dtype=torch.float64)
    corners = numbers[:, :2] * 100
    return torch.cat((corners, corners + numbers[:, 2:] * side), dim=1).to(dtype)


def random_labels(count: int, num_labels: int = 3) -> Tensor:
    """Labels 0..num_labels - 1."""
    return torch.randint(0, num_labels, (count,), generator=seeded(count))


def chain(count: int, dtype: torch.dtype) -> Tensor:
    """Boxes each of which overlaps its neighbours only: every second one is kept, in turn."""
    left = torch.arange(count, dtype=dtype) * 4
    return torch.stack((left, left * 0, left + 9, left * 0 + 9), dim=1)


def odd_boxes(dtype: torch.dtype) -> Tensor:
    """Ordinary boxes between empty, inverted, infinite and undefined ones."""
    odd = [
        [0, 0, 9, 9],
        [NAN, 0, 9, 9],
        [0, 0, NAN, NAN],
        [0, 0, 9, 9],
        [-INF, -INF, INF, INF],
        [0, 0, INF, 9],
        [5, 5, 5, 5],
        [9, 9, 0, 0],
        [9, 9, 8, 8],
        [1e30, 1e30, 1e30, 1e30],
        [-3e38, -3e38, 3e38, 3e38],
        [0, 0, 9, 8],
    ]
    return torch.tensor(odd * 11, dtype=dtype)


def touching(dtype: torch.dtype) -> Tensor:
    """Pairs at IoU exactly 1/2: 10 x 10 and 10 x 5 px, and 10 x 10 and 20 x 10 px."""
    return torch.tensor([[0, 0, 9, 9], [0, 0, 9, 4], [50, 0, 69, 9], [60, 0, 69, 9]], dtype=dtype)


# Around tiles, and more tiles than one pass of a loop over the grid has blocks.
_COUNTS = (0, 1, 2, 63, 64, 65, 127, 128, 129, 200, 321)

CASES = (
    *(
        OpCase(f"{count}-boxes", "nms_keep", lambda t, n=count: (random_boxes(n, t), None, 0.4))
        for count in _COUNTS
    ),
    *(
        OpCase(
            f"{count}-boxes-labels",
            "nms_keep",
            lambda t, n=count: (random_boxes(n, t), random_labels(n), 0.4),
        )
        for count in _COUNTS
    ),
    OpCase("dense", "nms_keep", lambda t: (random_boxes(150, t, 400.0), None, 0.5)),
    OpCase("equal-boxes", "nms_keep", lambda t: (torch.ones(130, 4, dtype=t), None, 0.5)),
    OpCase(
        "equal-boxes-own-labels",
        "nms_keep",
        lambda t: (torch.ones(130, 4, dtype=t), (torch.arange(130) - 65) * 2**32, 0.5),
    ),
    OpCase("chain", "nms_keep", lambda t: (chain(200, t), None, 0.4)),
    OpCase("at-threshold", "nms_keep", lambda t: (touching(t), None, 0.5)),
    OpCase("under-threshold", "nms_keep", lambda t: (touching(t), None, 0.49)),
    OpCase("odd-boxes", "nms_keep", lambda t: (odd_boxes(t), None, 0.5)),
    OpCase("odd-boxes-labels", "nms_keep", lambda t: (odd_boxes(t), random_labels(132), 0.5)),
    *(
        OpCase(f"threshold-{x}", "nms_keep", lambda t, x=x: (random_boxes(70, t), None, x))
        for x in (-1.0, 0.0, 1.0, INF, NAN)
    ),
    OpCase(
        "strided",
        "nms_keep",
        lambda t: (
            random_boxes(100, t).t().contiguous().t(),
            random_labels(200).view(100, 2)[:, 1],
            0.4,
        ),
    ),
    OpCase(
        "one-box-seen-often",
        "nms_keep",
        lambda t: (random_boxes(1, t).expand(70, 4), torch.zeros(1).long().expand(70), 0.4),
    ),
)

REFUSALS = (
    Refusal(
        "five-columns",
        "nms_keep",
        lambda: (torch.zeros(3, 5), None, 0.5),
        r"boxes: .*\[ \* 4 \], got \(3, 5\)",
    ),
    Refusal("flat", "nms_keep", lambda: (torch.zeros(4), None, 0.5), r"boxes: .*got \(4\)"),
    Refusal(
        "half-precision",
        "nms_keep",
        lambda: (torch.zeros(3, 4).half(), None, 0.5),
        r"boxes: expected float32 or float64, got Half",
    ),
    Refusal(
        "no-boxes-of-whole-numbers",
        "nms_keep",
        lambda: (torch.zeros(0, 4).long(), None, 0.5),
        r"boxes: expected float32 or float64, got Long",
    ),
    Refusal(
        "float-labels",
        "nms_keep",
        lambda: (torch.zeros(3, 4), torch.zeros(3), 0.5),
        r"labels: expected Long, got Float",
    ),
    Refusal(
        "too-few-labels",
        "nms_keep",
        lambda: (torch.zeros(3, 4), torch.zeros(2).long(), 0.5),
        r"labels: .*\[ 3 \], got \(2\)",
    ),
)
