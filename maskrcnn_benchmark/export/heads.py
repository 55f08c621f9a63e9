"""What becomes of boxes behind the dense detector, in ONNX: pooling, then the layers of a head.

The standard's RoiAlign with "output_half_pixel" is the legacy one (no shift, sides of at least a
cell), with "half_pixel" the aligned one; its sampling_ratio of 0 is adaptive, as ours.

Shapes: R boxes, F channels, M side of the pooled map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.export.graph import Graph, Value
from maskrcnn_benchmark.layers import ROIAlign
from maskrcnn_benchmark.modeling.poolers import LevelMapper, LevelMapperwithArea, Pooler


class Frame(NamedTuple):
    """The image that boxes lie in.

    Attributes:
        height: without padding, int64 scalar.
        width: likewise.
        pixel_offset: what a box adds to x2 - x1 to get its width.
    """

    height: Value
    width: Value
    pixel_offset: int


def pool(
    graph: Graph, pooler: Pooler, features: Sequence[Value], corners: Value, frame: Frame
) -> Value:
    """(R, F, M, M) features of boxes (R, 4), each from the level that fits it."""
    aligns = [one for one in pooler.poolers if isinstance(one, ROIAlign)]
    if len(aligns) == 1:
        return _align(graph, aligns[0], features[0], corners)
    levels = _levels(graph, pooler, corners, frame)
    places = [graph.nonzero(levels.equals(level)) for level in range(len(aligns))]
    pooled = [
        _align(graph, align, feature, corners.take(place))
        for align, feature, place in zip(aligns, features, places, strict=False)
    ]
    order = graph.concat(places)
    back = graph.op("ScatterElements", order, order, graph.range(order.size(0)))
    return graph.concat(pooled).take(back)


def _align(graph: Graph, align: ROIAlign, feature: Value, corners: Value) -> Value:
    height, width = (
        (align.output_size,) * 2 if isinstance(align.output_size, int) else align.output_size
    )
    shape = corners.size(0).reshape(1)
    indices = graph.op("Expand", graph.constant([0], np.int64), shape)
    return graph.op(
        "RoiAlign",
        feature,
        corners,
        indices,
        coordinate_transformation_mode="half_pixel" if align.aligned else "output_half_pixel",
        mode="avg",
        output_height=height,
        output_width=width,
        sampling_ratio=align.sampling_ratio,
        spatial_scale=align.spatial_scale,
    )


def _levels(graph: Graph, pooler: Pooler, corners: Value, frame: Frame) -> Value:
    """(R,) int64 level of each box, 0 = the finest.

    Sizes are compared with powers of two, which says the same as rounding their logarithm, and
    leaves no logarithm to be rounded otherwise elsewhere.
    """
    mapper = pooler.level_mapper
    sides = corners.take([2, 3], axis=1) - corners.take([0, 1], axis=1) + float(frame.pixel_offset)
    areas = (sides.take(0, axis=1) * sides.take(1, axis=1)).clamp(0.0)
    if isinstance(mapper, LevelMapper):
        sizes = graph.op("Sqrt", areas) / float(mapper.canonical_scale) + mapper.eps
        first = mapper.k_min + 1 - mapper.canonical_level
        bounds = [2.0 ** (first + step) for step in range(mapper.k_max - mapper.k_min)]
        exceeded = [sizes >= bound for bound in bounds]
    elif isinstance(mapper, LevelMapperwithArea):
        area = (frame.height * frame.width).to(np.float32)
        ratios = graph.op("Div", area, areas) + mapper.eps
        exceeded = [
            ratios < 2.0 ** (mapper.k_max - level) for level in range(mapper.k_min, mapper.k_max)
        ]
    else:
        raise ConfigError(
            "MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION: a script's own rule cannot be exported"
        )
    levels = exceeded[0].to(np.int64)
    for one in exceeded[1:]:
        levels = levels + one.to(np.int64)
    return levels
