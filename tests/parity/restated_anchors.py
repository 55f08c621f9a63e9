"""The rules of detectors with anchors, restated with one anchor or proposal at a time.

Takes nothing from the package, so that both can only agree by saying the same. The cases that use
it take bodies and rasterised outlines from there, which have reference outputs of their own.
"""

import math

import numpy as np

from tests.parity.restated_rules import inclusive_iou


def cell_anchors(stride, sizes, ratios):
    """(A, 4) anchors of the first cell: the stride's square reshaped, rounded, then scaled."""
    middle = (stride - 1) / 2
    anchors = []
    for ratio in ratios:
        width = np.round(math.sqrt(stride * stride / ratio))
        height = np.round(width * ratio)
        for size in sizes:
            half_width = (width * size / stride - 1) / 2
            half_height = (height * size / stride - 1) / 2
            start = middle - half_width, middle - half_height
            anchors.append((*start, middle + half_width, middle + half_height))
    return np.array(anchors, dtype=np.float32)


def level_anchors(num_rows, num_columns, stride, sizes, ratios):
    """(L, 4) anchors of a level."""
    first = cell_anchors(stride, sizes, ratios)
    steps = [
        (column * stride, row * stride) * 2
        for row in range(num_rows)
        for column in range(num_columns)
    ]
    return np.concatenate([first + np.array(step, dtype=np.float32) for step in steps])


def decode(codes, box, weights):
    """The corners that the codes lead to from a box."""
    x1, y1, x2, y2 = map(float, box)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    dx, dy, dw, dh = (float(code) / weight for code, weight in zip(codes, weights, strict=True))
    center_x, center_y = x1 + width / 2 + dx * width, y1 + height / 2 + dy * height
    limit = math.log(1000 / 16)
    half_width = math.exp(min(dw, limit)) * width / 2
    half_height = math.exp(min(dh, limit)) * height / 2
    left_top = (center_x - half_width, center_y - half_height)
    return (*left_top, center_x + half_width - 1, center_y + half_height - 1)


def encode(truth, box, weights):
    """The codes that lead from a box to a ground truth."""
    (x1, y1, x2, y2), (t1, u1, t2, u2) = map(float, box), map(float, truth)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    true_width, true_height = t2 - t1 + 1, u2 - u1 + 1
    codes = (
        (t1 + true_width / 2 - x1 - width / 2) / width,
        (u1 + true_height / 2 - y1 - height / 2) / height,
        math.log(true_width / width),
        math.log(true_height / height),
    )
    return [code * weight for code, weight in zip(codes, weights, strict=True)]


def clipped(box, image_hw):
    """The box with its corners moved into the image."""
    height, width = image_hw
    limits = (width - 1, height - 1) * 2
    return [min(max(value, 0), limit) for value, limit in zip(box, limits, strict=True)]


def match(boxes, truths, high, low, low_quality=None):
    """For each box the index of its ground truth, None for a negative, -1 for one to ignore.

    A ground truth's best boxes match whatever their IoU, if that is at least ``low_quality``.
    """
    if not len(truths):
        return [None] * len(boxes)
    ious = np.stack([inclusive_iou(truth, boxes) for truth in truths])
    best, quality = ious.argmax(axis=0), ious.max(axis=0)
    matches = [
        int(index) if iou >= high else (None if iou < low else -1)
        for index, iou in zip(best, quality, strict=True)
    ]
    if low_quality is not None:
        for row in ious:
            if row.max() > 0 and row.max() >= low_quality:
                for place in np.flatnonzero(row == row.max()):
                    matches[place] = int(best[place])
    return matches


def smooth_l1(errors, widths):
    """Sum over coordinates, each with the width of its quadratic part."""
    return sum(
        0.5 * error**2 / width if error < width else error - 0.5 * width
        for error, width in zip(np.abs(errors), widths, strict=True)
    )


def binary_entropy(logit, is_true):
    """Cross entropy of one logit."""
    return max(logit, 0) - logit * is_true + math.log1p(math.exp(-abs(logit)))
