"""Detectors of two stages in ONNX: proposals of the RPN, then what the box head makes of them.

Shapes: R proposals, C classes with background, B sets of offsets, F channels, M side of a map.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from maskrcnn_benchmark.export.candidates import Level, anchors_at, decode
from maskrcnn_benchmark.export.graph import Graph, Value
from maskrcnn_benchmark.export.selection import (
    Boxes,
    Limits,
    join,
    read_map,
    select,
    suppress,
    trim,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.dense.rpn.inference import ProposalSettings
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import BoxPostProcessor

Stage: TypeAlias = Any
"""A ``DenseStage`` of the RPN."""
Sides: TypeAlias = tuple[Value, Value]


def propose(graph: Graph, stage: Stage, levels: Sequence[Level], hw: Sides) -> Value:
    """(R, 4) proposals of the RPN, best first.

    Args:
        graph: that it is part of.
        stage: the RPN.
        levels: logits and deltas of each level.
        hw: height and width of the image without padding, int64 scalars.
    """
    settings: ProposalSettings = stage.select_test.settings
    found = [_proposals_of_level(graph, stage, levels, at, hw) for at in range(len(levels))]
    boxes = join(graph, found)
    if len(levels) == 1:
        return boxes.corners
    number = graph.op("Min", boxes.scores.size(0), settings.fpn_post_nms_top_n)
    _, best = graph.top(boxes.scores, number)
    return boxes.corners.take(best)


def _proposals_of_level(
    graph: Graph, stage: Stage, levels: Sequence[Level], at: int, hw: Sides
) -> Boxes:
    logits, deltas = levels[at]
    settings: ProposalSettings = stage.select_test.settings
    anchors: AnchorGenerator = stage.anchor_generator
    coder: BoxCoder = stage.select_test.coder
    objectness = graph.op("Sigmoid", logits.reshape(-1))
    number = graph.op("Min", objectness.size(0), settings.pre_nms_top_n)
    scores, places = graph.top(objectness, number)
    num_cells = logits.size(2) * logits.size(3)
    cells, points = places % num_cells, places / num_cells
    start = anchors_at(graph, anchors, levels, at, cells, points)
    codes = read_map(graph, deltas, 4, cells, points)
    labels = graph.op("Min", cells, 0) + 1  # all compete: one class
    limits = Limits(settings.nms_threshold, 0, settings.min_size, settings.pixel_offset, clips=True)
    boxes = trim(graph, Boxes(decode(graph, coder, codes, start), scores, labels), hw, limits)
    if limits.nms_threshold <= 0:
        return boxes
    boxes = boxes.take(suppress(graph, boxes, limits, 1))
    if settings.post_nms_top_n <= 0:
        return boxes
    most = graph.op("Min", boxes.scores.size(0), settings.post_nms_top_n)
    return boxes.take(graph.range(most))


def classify(
    graph: Graph,
    post_processor: BoxPostProcessor,
    outputs: Sequence[Value],
    proposals: Value,
    hw: Sides,
    threshold: Value,
    sizes: tuple[int, int],
) -> Boxes:
    """The detections, best first.

    Args:
        graph: that it is part of.
        post_processor: of the box head.
        outputs: class probabilities (R, C) and offsets (R, 4 * B).
        proposals: (R, 4).
        hw: height and width of the image without padding, int64 scalars.
        threshold: float32 scalar that probabilities have to exceed.
        sizes: C and B.
    """
    probs, codes = outputs
    num_classes, num_sets = sizes
    settings, coder = post_processor.settings, post_processor.box_coder
    foreground = graph.op("Transpose", probs.take(list(range(1, num_classes)), axis=1), perm=[1, 0])
    flat = foreground.reshape(-1)
    found = graph.nonzero(flat > threshold)
    number = proposals.size(0)
    rois, labels = found % number, found / number + 1
    sets = rois * num_sets + graph.op("Min", labels, num_sets - 1)
    corners = decode(graph, coder, codes.reshape(-1, 4).take(sets), proposals.take(rois))
    limits = Limits(
        nms_threshold=settings.nms_threshold,
        most=settings.detections_per_image,
        min_size=settings.min_side,
        pixel_offset=coder.pixel_offset,
        clips=True,
    )
    boxes = Boxes(corners, flat.take(found).to(np.float32), labels)
    return select(graph, boxes, hw, limits, num_classes - 1)
