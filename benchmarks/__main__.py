"""Time each operator, compiled and as plain PyTorch, side by side: `python -m benchmarks`."""

import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import _reference, ops_status

# Alternating rounds of both, so that a busy machine slows both alike.
ROUNDS = 7


class Case(NamedTuple):
    """One operator with its arguments."""

    title: str
    operator: str
    arguments: tuple[object, ...]


def random_boxes(count: int, *, width: int = 1333, height: int = 800) -> Tensor:
    """(count, 4) boxes xyxy of 16 to 316 px a side in an image of that size."""
    corners = torch.rand(count, 2) * torch.tensor([width - 316.0, height - 316.0])
    return torch.cat([corners, corners + 16 + 300 * torch.rand(count, 2)], dim=1)


def make_cases() -> list[Case]:
    """The operators at the sizes of CenterMask R-50 on an 800 x 1333 image."""
    boxes = random_boxes(1000)
    labels = torch.randint(1, 81, (1000,))
    features = torch.rand(1, 256, 100, 168)
    rois = torch.cat([torch.zeros(100, 1), random_boxes(100)], dim=1)
    pooled = torch.rand(100, 256, 14, 14)
    logits = torch.randn(22400, 80)
    targets = torch.randint(0, 81, (22400,))
    return [
        Case("nms, 1000 boxes", "nms_keep", (boxes, None, 0.6)),
        Case("ml_nms, 1000 boxes of 80 classes", "nms_keep", (boxes, labels, 0.6)),
        Case("roi_align, 100 x 256 x 14 x 14", "roi_align", (features, rois, 0.125, 14, 14, 2)),
        Case(
            "roi_align backward",
            "roi_align_backward",
            (pooled, rois, 0.125, *features.shape, 2),
        ),
        Case("focal loss, 22400 x 80", "sigmoid_focal_loss", (logits, targets, 2.0, 0.25)),
        Case(
            "focal loss backward",
            "sigmoid_focal_loss_backward",
            (torch.ones_like(logits), logits, targets, 2.0, 0.25),
        ),
    ]


def milliseconds(function: Callable[..., Tensor], arguments: tuple[object, ...]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function(*arguments)
    return 1000 * (time.perf_counter() - start)


def time_case(case: Case) -> tuple[float, float]:
    """Median milliseconds of (the operator in use, its plain PyTorch twin)."""
    functions = (getattr(torch.ops.centermask, case.operator), getattr(_reference, case.operator))
    for function in functions:
        function(*case.arguments)
    rounds = [[milliseconds(one, case.arguments) for one in functions] for _ in range(ROUNDS)]
    in_use, plain = (statistics.median(times) for times in zip(*rounds, strict=True))
    return in_use, plain


def main() -> None:
    status = ops_status()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads,")
    print(f"torch {torch.__version__}; operators: {status.reason}\n")
    print(f"{'median of ' + str(ROUNDS) + ', ms':34} {'in use':>9} {'plain PyTorch':>14}")
    torch.manual_seed(0)
    with torch.no_grad():
        for case in make_cases():
            in_use, plain = time_case(case)
            print(f"{case.title:34} {in_use:9.2f} {plain:14.2f}")


if __name__ == "__main__":
    main()
