"""Time each operator beside its plain PyTorch twin and torchvision's: `python -m benchmarks`."""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision import ops as vision

from maskrcnn_benchmark.layers import _reference, ops_status

IMAGE_WH = (1333, 800)
STRIDE = 8

Work = Callable[[], object]


class Case(NamedTuple):
    """The same work done by the operator in use, by plain PyTorch and by torchvision."""

    title: str
    in_use: Work
    plain: Work
    torchvision: Work


def random_boxes(count: int, *, largest: float = 300.0) -> Tensor:
    """(count, 4) boxes xyxy of 16 to 16 + largest px a side in an image of IMAGE_WH."""
    room = torch.tensor(IMAGE_WH) - 16.0 - largest
    corners = torch.rand(count, 2) * room
    return torch.cat([corners, corners + 16 + largest * torch.rand(count, 2)], dim=1)


def nms_cases(count: int) -> list[Case]:
    """Suppression of boxes that are sorted already (torchvision sorts them again)."""
    boxes, scores = random_boxes(count), torch.linspace(1, 0, count)
    labels = torch.randint(1, 81, (count,))
    compiled = torch.ops.centermask.nms_keep
    return [
        Case(
            f"nms, {count} boxes",
            lambda: compiled(boxes, None, 0.6),
            lambda: _reference.nms_keep(boxes, None, 0.6),
            lambda: vision.nms(boxes, scores, 0.6),
        ),
        Case(
            f"ml_nms, {count} boxes of 80 classes",
            lambda: compiled(boxes, labels, 0.6),
            lambda: _reference.nms_keep(boxes, labels, 0.6),
            lambda: vision.batched_nms(boxes, scores, labels, 0.6),
        ),
    ]


def roi_align_cases(
    count: int, side: int, ratio: int, *, channels_last: bool = False
) -> list[Case]:
    """Forward and backward at the sizes of CenterMask R-50, finest level."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = torch.rand(1, 256, 100, 168).contiguous(memory_format=layout)
    rois = torch.cat([torch.zeros(count, 1), random_boxes(count)], dim=1)
    grad = torch.rand(count, 256, side, side)
    forward = (features, rois, 1 / STRIDE, side, side, ratio)
    backward = (grad, rois, 1 / STRIDE, *features.shape, ratio)
    theirs = torch.ops.torchvision
    size = f"{count} x 256 x {side} x {side}, sampling {ratio}"
    pair = [
        Case(
            f"roi_align {size}{', NHWC' if channels_last else ''}",
            lambda: torch.ops.centermask.roi_align(*forward),
            lambda: _reference.roi_align(*forward),
            lambda: theirs.roi_align(*forward, False),
        ),
        Case(
            f"  backward {size}",
            lambda: torch.ops.centermask.roi_align_backward(*backward),
            lambda: _reference.roi_align_backward(*backward),
            lambda: theirs._roi_align_backward(
                grad, rois, 1 / STRIDE, side, side, *features.shape, ratio, False
            ),
        ),
    ]
    return pair[:1] if channels_last else pair


def focal_case(num_locations: int, num_classes: int) -> Case:
    """Summed loss and its gradient, one location in a hundred positive."""
    logits = (torch.randn(num_locations, num_classes) * 2 - 4).requires_grad_()
    is_positive = torch.rand(num_locations) < 0.01
    targets = torch.randint(1, num_classes + 1, (num_locations,)) * is_positive
    hot = one_hot(targets, num_classes + 1)[:, 1:].float()

    def differentiate(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, logits)[0]

    def plain() -> None:
        _reference.sigmoid_focal_loss(logits.detach(), targets, 2.0, 0.25).sum()
        ones = torch.ones(()).expand(logits.shape)
        _reference.sigmoid_focal_loss_backward(ones, logits.detach(), targets, 2.0, 0.25)

    return Case(
        f"focal loss and gradient, {num_locations} x {num_classes}",
        lambda: differentiate(
            torch.ops.centermask.sigmoid_focal_loss(logits, targets, 2.0, 0.25).sum()
        ),
        plain,
        lambda: differentiate(vision.sigmoid_focal_loss(logits, hot, 0.25, 2.0, reduction="sum")),
    )


def milliseconds(work: Work) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def time_case(case: Case, rounds: int) -> list[float]:
    """Median milliseconds of each contender, alternating so that a busy machine slows all alike."""
    contenders = case[1:]
    for work in contenders:
        work()
    times = [[milliseconds(work) for work in contenders] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds a case")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, {arguments.threads} thread(s), CPU")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    print(f"operators in use: {ops_status().reason}\n")
    columns = f"{'in use':>9} {'plain':>9} {'torchvision':>12} {'ratio':>7}"
    print(f"{f'median of {arguments.rounds}, ms':48} {columns}")
    cases = [
        *nms_cases(1000),
        *nms_cases(5000),
        *roi_align_cases(100, 14, 2),
        *roi_align_cases(100, 14, 2, channels_last=True),
        *roi_align_cases(100, 14, 0),
        *roi_align_cases(512, 7, 2),
        focal_case(22400, 80),
    ]
    for case in cases:
        in_use, plain, theirs = time_case(case, arguments.rounds)
        print(f"{case.title:48} {in_use:9.2f} {plain:9.2f} {theirs:12.2f} {theirs / in_use:6.1f}x")


if __name__ == "__main__":
    main()
