"""Naive loops that say what the operators must return; no tensor arithmetic on purpose."""

import itertools
import math

import torch
from torch import Tensor


def iou(a: list[float], b: list[float]) -> float:
    """IoU of two boxes xyxy with inclusive corners."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return width * height / (area_a + area_b - width * height)


def nms(boxes: Tensor, scores: Tensor, labels: Tensor | None, threshold: float) -> list[int]:
    """Indices kept by greedy suppression, ascending."""
    rows = boxes.tolist()
    ranks = sorted(range(len(rows)), key=lambda i: (-float(scores[i]), i))
    kept: list[int] = []
    for i in ranks:
        rivals = [j for j in kept if labels is None or labels[i] == labels[j]]
        if all(iou(rows[i], rows[j]) <= threshold for j in rivals):
            kept.append(i)
    return sorted(kept)


def _bilinear(plane: Tensor, y: float, x: float) -> float:
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = plane[top, left] * (1 - dx) + plane[top, right] * dx
    lower = plane[bottom, left] * (1 - dx) + plane[bottom, right] * dx
    return float(upper * (1 - dy) + lower * dy)


def _mean_of_bin(
    plane: Tensor, origin: tuple[float, float], bin_hw: tuple[float, float], ratio: int
) -> float:
    rows = ratio if ratio > 0 else math.ceil(bin_hw[0])
    columns = ratio if ratio > 0 else math.ceil(bin_hw[1])
    samples = [
        _bilinear(
            plane,
            origin[0] + (i + 0.5) * bin_hw[0] / rows,
            origin[1] + (j + 0.5) * bin_hw[1] / columns,
        )
        for i in range(rows)
        for j in range(columns)
    ]
    return sum(samples) / max(len(samples), 1)


def roi_align(
    input: Tensor,
    rois: Tensor,
    pooled_hw: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool = False,
) -> Tensor:
    """Pooled features, sample by sample."""
    shift, shortest = (0.5, -math.inf) if aligned else (0.0, 1.0)
    output = torch.zeros(len(rois), input.shape[1], *pooled_hw, dtype=torch.float64)
    for r, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - shift for corner in corners)
        bin_hw = max(y2 - y1, shortest) / pooled_hw[0], max(x2 - x1, shortest) / pooled_hw[1]
        for c in range(input.shape[1]):
            for p in range(pooled_hw[0]):
                for q in range(pooled_hw[1]):
                    origin = y1 + p * bin_hw[0], x1 + q * bin_hw[1]
                    output[r, c, p, q] = _mean_of_bin(input[int(image), c], origin, bin_hw, ratio)
    return output


def focal_loss(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    """Focal loss from the definition, entry by entry; moderate logits only."""
    output = torch.zeros(logits.shape, dtype=torch.float64)
    for i, row in enumerate(logits.tolist()):
        for c, logit in enumerate(row):
            if targets[i] < 0:
                continue
            p = 1 / (1 + math.exp(-logit))
            p_t, alpha_t = (p, alpha) if targets[i] == c + 1 else (1 - p, 1 - alpha)
            output[i, c] = -alpha_t * (1 - p_t) ** gamma * math.log(p_t)
    return output


def _value_or_zero(plane: Tensor, y: float, x: float) -> float:
    """Bilinear value where cells outside the plane are zero."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                total += weight * float(plane[row, column])
    return total


def deform_conv(
    features: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    deformable_groups: int,
) -> Tensor:
    """Modulated deformable convolution, one product at a time."""
    channels, (outputs, fan_in, *kernel_hw) = features.shape[1], weight.shape
    num_taps = kernel_hw[0] * kernel_hw[1]
    result = offset.new_zeros(offset.shape[0], outputs, *offset.shape[2:])
    for n, o, p, q in itertools.product(*map(range, result.shape)):
        first = o // (outputs // groups) * fan_in
        for c, i, j in itertools.product(range(fan_in), *map(range, kernel_hw)):
            part = (first + c) // (channels // deformable_groups)
            tap = part * num_taps + i * kernel_hw[1] + j
            y = p * stride[0] - padding[0] + i * dilation[0] + float(offset[n, 2 * tap, p, q])
            x = q * stride[1] - padding[1] + j * dilation[1] + float(offset[n, 2 * tap + 1, p, q])
            sample = _value_or_zero(features[n, first + c], y, x) * mask[n, tap, p, q]
            result[n, o, p, q] += sample * weight[o, c, i, j]
    return result
