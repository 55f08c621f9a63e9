"""From an 8-bit photo to the network's input, in ONNX, with the very numbers of Pillow and ours.

ONNX's own Resize is not Pillow's: it computes weights in 32 bits, and on a photo of 12 MP single
pixels come out otherwise by more than ten steps of 255. Here the fixed-point arithmetic of Pillow
is written out: weights of 22 bits, whole numbers, rounded to 8 bits after each direction.

Shapes: H, W sides of the photo, h, w of what the network sees, before padding.
"""

from typing import Final, NamedTuple

import numpy as np

from maskrcnn_benchmark.config.convention import RoundingRule
from maskrcnn_benchmark.export.graph import Graph, Value
from maskrcnn_benchmark.export.metadata import ExportMetadata

_WEIGHT_BITS: Final = 22
"""Of Pillow: 8 bits of a pixel and 2 for sums are left of 32."""
_LONG_DIVISION: Final = (4, 4, 4, 4, 3, 3)
"""Bits of a weight that a step gives: numbers stay below 2 to the 24, up to which runtimes are
exact even where they divide whole numbers as floats (OpenVINO)."""
_HALF: Final = 1 << (_WEIGHT_BITS // 2)
"""Weights are so many times their upper half, plus the lower one."""
_MAX_8_BIT: Final = 255.0


class NetworkInput(NamedTuple):
    """What the network is given, and how large it is.

    Attributes:
        images: (1, 3, padded height, padded width) float32.
        height: of what is not padding, int64 scalar.
        width: likewise.
        ratios_xy: (2,) float32 px of the photo for each px of the network's input, x and y.
    """

    images: Value
    height: Value
    width: Value
    ratios_xy: Value


def prepare(graph: Graph, image: Value, metadata: ExportMetadata) -> NetworkInput:
    """The photo (H, W, 3) uint8 RGB as the network wants it."""
    resize = metadata.resize
    before = image.size(0), image.size(1)
    height, width = resized_sides(before, resize.min_size, resize.max_size, _rounding(resize.sides))
    planes = resample(graph, image, before, (height, width))  # (3, h, w) uint8
    normalized = _normalize(graph, planes, metadata)
    ratios = [
        (old.to(np.float64) / new.to(np.float64)).to(np.float32).reshape(1)
        for old, new in zip(before[::-1], (width, height), strict=True)
    ]
    images = _pad(graph, normalized, (height, width), resize.divisibility)
    return NetworkInput(images, height, width, graph.concat(ratios))


def _rounding(name: str) -> RoundingRule:
    assert name in ("truncate", "nearest", "floor"), name
    return name  # type: ignore[return-value]


def resized_sides(
    sides_hw: tuple[Value, Value], min_size: int, max_size: int, rule: RoundingRule
) -> tuple[Value, Value]:
    """(height, width) after the resize, int64 scalars, as ``data.transforms`` rounds them."""
    graph = sides_hw[0].graph
    if rule == "truncate":
        return _truncated_sides(graph, sides_hw, min_size, max_size)
    height, width = (side.to(np.float64) for side in sides_hw)
    shorter, longer = graph.op("Min", height, width), graph.op("Max", height, width)
    if rule == "floor":
        scale = graph.op("Min", min_size / shorter, max_size / longer)
        scaled = [(side * scale).clamp(1.0) for side in (height, width)]
    else:
        first = min_size / shorter
        new = [first * side for side in (height, width)]
        over = graph.op("Max", *new)
        second = graph.where(over > float(max_size), max_size / over, 1.0)
        scaled = [(side * second + 0.5).clamp(1.0) for side in new]
    new_height, new_width = (side.to(np.int64) for side in scaled)
    return new_height, new_width


def _truncated_sides(
    graph: Graph, sides_hw: tuple[Value, Value], min_size: int, max_size: int
) -> tuple[Value, Value]:
    """Those of ``resized_hw``, whose quotients are of whole numbers."""
    height, width = sides_hw
    shorter, longer = graph.op("Min", height, width), graph.op("Max", height, width)
    quotient, rest = shorter * max_size / longer, shorter * max_size % longer * 2
    is_odd = (quotient % 2).equals(1)
    rounds_up = graph.op("Or", rest > longer, graph.op("And", rest.equals(longer), is_odd))
    bounded = (quotient + rounds_up.to(np.int64)).clamp(1)
    side = graph.where(longer * min_size > shorter * max_size, bounded, min_size)
    is_tall = width < height
    new_height = graph.where(is_tall, side * height / width, side)
    return new_height, graph.where(is_tall, side, side * width / height)


def resample(
    graph: Graph, image: Value, before: tuple[Value, Value], after: tuple[Value, Value]
) -> Value:
    """The image (H, W, 3) uint8 as (3, h, w) uint8, as Pillow's BILINEAR resizes it."""
    columns = graph.op("Transpose", image, perm=[1, 0, 2])  # (W, H, 3)
    wide = _resample_rows(graph, columns, before[1], after[1])  # (w, H * 3)
    shape = graph.concat(
        [side.reshape(1) for side in (after[1], before[0])] + [graph.constant([3], np.int64)]
    )
    rows = graph.op("Transpose", graph.op("Reshape", wide, shape), perm=[1, 2, 0])  # (H, 3, w)
    high = _resample_rows(graph, rows, before[0], after[0])  # (h, 3 * w)
    shape = graph.concat([after[0].reshape(1), graph.constant([3], np.int64), after[1].reshape(1)])
    return graph.op("Transpose", graph.op("Reshape", high, shape), perm=[1, 0, 2])


def _resample_rows(graph: Graph, rows: Value, before: Value, after: Value) -> Value:
    """Rows (before, ...) uint8 resampled to (after, L) uint8."""
    rows = rows.reshape(0, -1)
    weights, sources = _taps(graph, before, after)
    sum_taps = _sum_in_floats if graph.narrow else _sum_in_integers
    return sum_taps(graph, rows, weights, sources)


def _sum_in_integers(graph: Graph, rows: Value, weights: Value, sources: Value) -> Value:
    """Rows (after, L) uint8: the sums of 30 bits that Pillow makes."""
    weights = weights.to(np.int32)
    half = graph.constant([[1 << (_WEIGHT_BITS - 1)]], np.int32)
    shape = graph.concat([sources.size(0).reshape(1), rows.size(1).reshape(1)])

    def add_tap(body: Graph, number: Value, total: Value) -> Value:
        at = body.op("Gather", sources, number, axis=1)
        pixels = body.op("Gather", rows, at, axis=0, dtype=np.uint8).to(np.int32)
        return total + pixels * body.op("Gather", weights, number, axis=1).reshape(-1, 1)

    total = graph.repeat(sources.size(1), graph.op("Expand", half, shape), add_tap)
    shift = graph.constant(_WEIGHT_BITS, np.uint32)
    return graph.op("BitShift", total.to(np.uint32), shift, direction="RIGHT").to(np.uint8)


def _sum_in_floats(graph: Graph, rows: Value, weights: Value, sources: Value) -> Value:
    """The same rows, of the two halves of each weight: no sum has more than 24 bits."""
    axis = graph.constant([0], np.int64)
    halves = [graph.op("Unsqueeze", half, axis) for half in (weights / _HALF, weights % _HALF)]
    parts = graph.concat(halves).to(np.float32)  # (2, after, K)
    sides = [sources.size(0).reshape(1), rows.size(1).reshape(1)]
    shape = graph.concat([graph.constant([2], np.int64), *sides])

    def add_tap(body: Graph, number: Value, total: Value) -> Value:
        at = body.op("Gather", sources, number, axis=1)
        pixels = body.op("Gather", rows, at, axis=0, dtype=np.uint8).to(np.float32)
        return total + pixels * body.op("Gather", parts, number, axis=2).reshape(2, -1, 1)

    nothing = graph.constant([[[0.0]]], np.float32)
    total = graph.repeat(sources.size(1), graph.op("Expand", nothing, shape), add_tap)
    carried = graph.op("Floor", (total.take(1) + float(_HALF * _HALF // 2)) * (1.0 / _HALF))
    return ((total.take(0) + carried) * (1.0 / _HALF)).to(np.uint8)


def _taps(graph: Graph, before: Value, after: Value) -> tuple[Value, Value]:
    """Weights (after, K) int64 and rows (after, K) int64 of which each new row is made.

    Weights are Pillow's, of a triangle as wide as the step, or as a row where rows become more; but
    as fractions of whole numbers, so that 32 bits suffice for what Pillow has 64 for.
    """
    reach = graph.op("Max", before, after)  # of the triangle, in units of 1 / after rows
    centers = (graph.range(after) * 2 + 1).reshape(-1, 1) * before
    first = (centers - reach * 2 + after).clamp(0) / (after * 2)
    number = (reach * 2 + after - 1) / after
    at = graph.op("Add", first, graph.range(number).reshape(1, -1))
    distances = graph.op("Abs", graph.op("Sub", (at * 2 + 1) * after, centers))
    heights = (reach * 2 - distances).clamp(0)
    heights = graph.where(at < before, heights, 0)
    total = graph.op("ReduceSum", heights, graph.constant([1], np.int64), keepdims=1)
    return _share(heights, total), graph.op("Min", at, before - 1)


def _share(part: Value, whole: Value) -> Value:
    """``part / whole`` times 2 to the bits of a weight, rounded; by long division."""
    share = part - part
    for bits in _LONG_DIVISION:
        part = part * (1 << bits)
        share = share * (1 << bits) + part / whole
        part = part % whole
    return share + (part * 2 >= whole).to(np.int64)


def _normalize(graph: Graph, planes: Value, metadata: ExportMetadata) -> Value:
    """(3, h, w) float32 of RGB planes uint8."""
    if metadata.channel_order == "bgr":
        planes = planes.take([2, 1, 0])
    pixels = planes.to(np.float32)
    if metadata.scale == 1:
        pixels = pixels / _MAX_8_BIT
    means, stds = (
        graph.constant(np.reshape(values, (3, 1, 1)), np.float32)
        for values in (metadata.pixel_mean, metadata.pixel_std)
    )
    pixels = pixels - means
    return pixels / stds if set(metadata.pixel_std) != {1.0} else pixels


def _pad(graph: Graph, planes: Value, hw: tuple[Value, Value], step: int) -> Value:
    """(1, 3, ...), zeros added right and bottom so that both sides are multiples of ``step``."""
    images = graph.op("Unsqueeze", planes, graph.constant([0], np.int64))
    if step <= 1:
        return images
    missing = [((step - 1) - (side + (step - 1)) % step).reshape(1) for side in hw]
    nothing = graph.constant([0, 0, 0, 0, 0, 0], np.int64)
    return graph.op("Pad", images, graph.concat([nothing, *missing]))
