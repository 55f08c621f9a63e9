"""From heat maps to keypoints, in ONNX, as ``heatmaps_to_keypoints`` finds them.

Each map is resized to its own box, so that a loop goes over the boxes. The resize is two products
of matrices with the very weights of ours, not ONNX's ``Resize``: where a map is nearly flat, other
roundings would find its maximum elsewhere.

Shapes: N detections, P points, S side of the heat maps; of one box: H, W its sides in whole px, L
one of them.
"""

from typing import Final, NamedTuple

import numpy as np

from maskrcnn_benchmark.export.graph import Graph, Value

_CUBIC_A: Final = -0.75
_REACH: Final = 2
"""Cells on either side that a weight reaches."""


class Points(NamedTuple):
    """Keypoints of the detections.

    Attributes:
        places: (N, P, 2) float32 x, y.
        scores: (N, P) float32, the logits there.
    """

    places: Value
    scores: Value


def locate(graph: Graph, heatmaps: Value, corners: Value, sizes: tuple[int, int]) -> Points:
    """The place of the maximum of each map, px of the frame of the boxes.

    Args:
        graph: that it is part of.
        heatmaps: (N, P, S, S) logits.
        corners: (N, 4) xyxy.
        sizes: P and S.
    """
    num_points, side = sizes

    def step(body: Graph, number: Value) -> tuple[Value, Value]:
        box = body.op("Gather", corners, number, axis=0)
        maps = body.op("Gather", heatmaps, number, axis=0)
        return _locate_one(body, maps, box, side)

    number = corners.size(0)
    shapes = ((num_points, 2), (num_points,))
    found = graph.each(number, step, [(np.float32, shape) for shape in shapes])
    # Of no detection runtimes forget the shape.
    lead = number.reshape(1)
    places, scores = (
        graph.op(
            "Reshape", each, graph.concat([lead, graph.constant(shape, np.int64)]), allowzero=1
        )
        for each, shape in zip(found, shapes, strict=True)
    )
    return Points(places, scores)


def _locate_one(graph: Graph, maps: Value, box: Value, side: int) -> tuple[Value, Value]:
    """(P, 2) places and (P,) scores in one box (4,) with maps (P, S, S)."""
    first = box.take([0, 1])
    sides = (box.take([2, 3]) - first).clamp(1.0)
    num_pixels = graph.op("Ceil", sides)
    columns, rows = (_resizer(graph, num_pixels.take(axis), side) for axis in range(2))
    by_row = graph.op("MatMul", rows, maps)
    resized = graph.op("MatMul", by_row, graph.op("Transpose", columns, perm=[1, 0]))
    flat = resized.reshape(0, -1)
    best = graph.op("ArgMax", flat, dtype=np.int64, axis=1, keepdims=0)
    scores = graph.op("ReduceMax", flat, graph.constant([1], np.int64), keepdims=0)
    width = num_pixels.take(0).to(np.int64)
    xy = graph.concat([(best % width).reshape(-1, 1), (best / width).reshape(-1, 1)], axis=1)
    return (xy.to(np.float32) + 0.5) * (sides / num_pixels) + first, scores


def _resizer(graph: Graph, length: Value, side: int) -> Value:
    """(L, S) weights that resize S values to L, bicubic, the border repeated."""
    targets = graph.range(length.to(np.int64)).to(np.float32)
    sources = ((targets + 0.5) * (float(side) / length) - 0.5).reshape(-1, 1)
    # Beyond the border there are cells, too, whose weights are those of the last ones.
    cells = np.arange(-_REACH, side + _REACH)
    distances = graph.op("Abs", sources - graph.constant(cells, np.float32))
    a = _CUBIC_A
    near = (distances * (a + 2) - (a + 3)) * (distances * distances) + 1.0
    far = (((distances - 5.0) * distances + 8.0) * distances - 4.0) * a
    weights = graph.where(distances < 2.0, far, 0.0)
    weights = graph.where(distances > 1.0, weights, near)
    fold = np.clip(cells, 0, side - 1)[:, None] == np.arange(side)
    return graph.op("MatMul", weights, graph.constant(fold, np.float32))
