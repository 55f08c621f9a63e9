"""From maps to the best boxes, in ONNX: candidates, suppression, the limit.

How our suppression maps onto the standard's NonMaxSuppression: both drop a box whose IoU with a
better kept one *exceeds* the threshold.

* The standard's boxes are x2 - x1 wide. Where ours are x2 - x1 + 1 wide, x2 and y2 are moved by 1
  first: the same areas and intersections, up to the rounding of float32.
* Only boxes of one class compete: classes are the standard's class dimension, in which a box of
  another class scores below the least score.
* Of equal scores the earlier box is the better one: what the standard ranks by is not the score
  but the place in an order that was sorted before, where no two are equal.
* The standard's limit is one for each class, and is not used; the limit of an image follows
  afterwards, with ties at the cut-off kept.

Shapes: K candidates of the image.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from maskrcnn_benchmark.export.graph import Graph, Value

_MARGIN: Final = 1e-3
"""Logits are compared with a threshold that is lower by this before their few sigmoids are."""


class Boxes(NamedTuple):
    """Boxes of the image.

    Attributes:
        corners: (K, 4) xyxy, px of the resized image.
        scores: (K,) by which they are ranked.
        labels: (K,) int64.
    """

    corners: Value
    scores: Value
    labels: Value

    def take(self, indices: Value) -> "Boxes":
        """Some of them."""
        return Boxes(*(value.take(indices) for value in self))


class Limits(NamedTuple):
    """What the selection cuts off.

    Attributes:
        nms_threshold: of two boxes of one class with a higher IoU the worse one goes; 0: none goes.
        most: best boxes kept; 0 keeps all. Ties at the cut-off are kept.
        min_size: smaller boxes go first, px.
        pixel_offset: of the boxes.
        clips: they are clipped to the image first.
    """

    nms_threshold: float
    most: int
    min_size: float
    pixel_offset: int
    clips: bool


class Found(NamedTuple):
    """Scores of a level that exceed the threshold.

    Attributes:
        scores: (n,).
        cells: (n,) int64, row by row.
        points: (n,) int64, which of the predictions of a cell.
        labels: (n,) int64, from 1.
    """

    scores: Value
    cells: Value
    points: Value
    labels: Value


def scores_above(graph: Graph, logits: Value, num_classes: int, threshold: Value) -> Found:
    """The sigmoids of maps (1, D * C, H, W) that exceed the threshold.

    Args:
        graph: that it is part of.
        logits: the maps.
        num_classes: C.
        threshold: float32 scalar.
    """
    flat = logits.reshape(-1)
    # A sigmoid costs more than a comparison: nearly all are spared. Log of 0 lets everything pass.
    least = graph.op("Log", threshold / (1.0 - threshold)) - _MARGIN
    maybe = graph.nonzero(flat > least)
    probs = graph.op("Sigmoid", flat.take(maybe))
    sure = graph.nonzero(probs > threshold)
    places, probs = maybe.take(sure), probs.take(sure)
    num_cells = logits.size(2) * logits.size(3)
    channels = places / num_cells
    labels = channels % num_classes + 1
    return Found(probs, places % num_cells, channels / num_classes, labels)


def best_of_level(graph: Graph, found: Found, ranks: Value, most: int) -> tuple[Found, Value]:
    """The best of what was found on a level, with their ranks."""
    number = graph.op("Min", ranks.size(0), most)
    best, indices = graph.top(ranks, number)
    return Found(*(value.take(indices) for value in found)), best


def read_map(graph: Graph, values: Value, width: int, cells: Value, points: Value) -> Value:
    """(n, width) numbers of a map (1, D * width, H, W) at some cells and points."""
    flat = values.reshape(-1)
    num_cells = values.size(2) * values.size(3)
    first = (points * width).reshape(-1, 1) + graph.range(graph.constant(width, np.int64))
    return flat.take(first * num_cells + cells.reshape(-1, 1))


def suppress(graph: Graph, boxes: Boxes, limits: Limits, num_labels: int) -> Value:
    """Ascending indices of the boxes that survive; boxes come best first, earlier before later."""
    count = boxes.scores.size(0)
    corners = boxes.corners
    if limits.pixel_offset:
        offset = float(limits.pixel_offset)
        corners = corners + graph.constant([0.0, 0.0, offset, offset], np.float32)
    ranks = (count - graph.range(count)).to(np.float32)
    classes = graph.range(graph.constant(num_labels, np.int64)).reshape(-1, 1) + 1
    is_own = graph.op("Equal", boxes.labels.reshape(1, -1), classes, dtype=np.bool_)
    per_class = graph.where(is_own, ranks.reshape(1, -1), -1.0)
    axis = graph.constant([0], np.int64)
    chosen = graph.op(
        "NonMaxSuppression",
        graph.op("Unsqueeze", corners, axis),
        graph.op("Unsqueeze", per_class, axis),
        count.reshape(1),
        graph.constant([limits.nms_threshold], np.float32),
        graph.constant([0.0], np.float32),
        dtype=np.int64,
    )
    kept = chosen.take(2, axis=1)
    # Ascending: the standard gives them class by class.
    ascending, _ = graph.top(kept * -1, kept.size(0))
    return ascending * -1


def select(
    graph: Graph, boxes: Boxes, hw: tuple[Value, Value], limits: Limits, num_labels: int
) -> Boxes:
    """The boxes that are left, best first.

    Args:
        graph: that it is part of.
        boxes: candidates in any order.
        hw: height and width of the image without padding, int64 scalars.
        limits: what is cut off.
        num_labels: labels are 1 to this.
    """
    boxes = trim(graph, boxes, hw, limits)
    _, order = graph.top(boxes.scores, boxes.scores.size(0))
    boxes = boxes.take(order)
    if limits.nms_threshold > 0:
        boxes = boxes.take(suppress(graph, boxes, limits, num_labels))
    if limits.most <= 0:
        return boxes
    # A score below all others stands behind them, so that there is always one to compare with.
    padded = graph.concat([boxes.scores, graph.constant([-math.inf], np.float32)])
    last = graph.op("Min", padded.size(0), limits.most) - 1
    return boxes.take(graph.nonzero(boxes.scores >= padded.take(last)))


def trim(graph: Graph, boxes: Boxes, hw: tuple[Value, Value], limits: Limits) -> Boxes:
    """The boxes clipped, and without those that are too small, as the limits say."""
    if limits.clips:
        boxes = boxes._replace(corners=clip(graph, boxes.corners, hw, limits.pixel_offset))
    if limits.min_size > 0:
        boxes = boxes.take(_large_enough(graph, boxes.corners, limits))
    return boxes


def clip(graph: Graph, corners: Value, hw: tuple[Value, Value], pixel_offset: int) -> Value:
    """The boxes cut to the image."""
    sides = [(side - pixel_offset).to(np.float32).reshape(1) for side in (hw[1], hw[0])]
    return corners.clamp(0.0, graph.concat([*sides, *sides]))


def _large_enough(graph: Graph, corners: Value, limits: Limits) -> Value:
    sides = corners.take([2, 3], axis=1) - corners.take([0, 1], axis=1) + float(limits.pixel_offset)
    axis = graph.constant([1], np.int64)
    shorter = graph.op("ReduceMin", sides, axis, keepdims=0)
    return graph.nonzero(shorter >= limits.min_size)


def join(graph: Graph, levels: Sequence[Boxes]) -> Boxes:
    """The boxes of all levels, one level after the other."""
    return Boxes(*(graph.concat(values) for values in zip(*levels, strict=True)))
