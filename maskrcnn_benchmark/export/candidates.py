"""From the maps of a dense detector to boxes that may be detections, in ONNX, family by family.

Shapes: C foreground classes, D predictions of a cell, n candidates of a level.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from maskrcnn_benchmark.export.graph import Graph, Value
from maskrcnn_benchmark.export.selection import (
    Boxes,
    best_of_level,
    read_map,
    scores_above,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.dense.fcos.inference import PRODUCT, Score
from maskrcnn_benchmark.modeling.dense.fcos.locations import DENSE_POINT_OFFSETS
from maskrcnn_benchmark.modeling.dense.selection import Selection

Stage: TypeAlias = Any
"""A ``DenseStage``, whose parts the families know."""
Level: TypeAlias = Sequence[Value]
Candidates: TypeAlias = Callable[[Graph, Stage, Sequence[Level], Value], list[Boxes]]
"""(graph, stage, the maps of each level, threshold) -> the candidates of each level."""


def fcos_candidates(
    graph: Graph,
    stage: Stage,
    levels: Sequence[Level],
    threshold: Value,
) -> list[Boxes]:
    """Those of FCOS, ranked by class probability x centerness."""
    selection: Selection = stage.select_test
    settings = selection.settings
    keywords = getattr(selection.decode, "keywords", {})
    score: Score = keywords.get("score", PRODUCT)
    limits_score = bool(keywords.get("limits_score", False))
    least = threshold * threshold if limits_score and score is not PRODUCT else threshold
    found = []
    for number, (logits, ltrb, centerness) in enumerate(levels):
        above = scores_above(graph, logits, num_labels(stage), least)
        center_probs = graph.op("Sigmoid", centerness.reshape(-1))
        place = above.points * (ltrb.size(2) * ltrb.size(3)) + above.cells
        ranks = above.scores * center_probs.take(place)
        best, ranks = best_of_level(graph, above, ranks, settings.pre_nms_top_n)
        corners = _fcos_boxes(graph, stage, levels, number, best.cells, best.points)
        scores = ranks if score is PRODUCT else graph.op("Sqrt", ranks)
        boxes = Boxes(corners, scores, best.labels)
        found.append(boxes.take(graph.nonzero(ranks > least)) if limits_score else boxes)
    return found


def num_labels(stage: Stage) -> int:
    """Foreground classes C of a dense detector that knows classes."""
    points = stage.anchor_generator
    if isinstance(points, AnchorGenerator):
        num_points = points.num_anchors_per_location
    else:
        num_points = len(DENSE_POINT_OFFSETS[points.keywords["dense_points"]])
    channels: int = stage.head.cls_logits.out_channels
    return channels // num_points


def _fcos_boxes(
    graph: Graph,
    stage: Stage,
    levels: Sequence[Level],
    number: int,
    cells: Value,
    points: Value,
) -> Value:
    """(n, 4) boxes at some locations of a level."""
    rules = stage.anchor_generator.keywords
    stride = rules["strides"][number]
    ltrb = levels[number][1]
    at = _origins(graph, levels, number, cells, rules["strides"], rules["rules"].pitch)
    first = stride // 2 if rules["rules"].centred else 0
    offsets = np.array(DENSE_POINT_OFFSETS[rules["dense_points"]]) * (stride // 4) + first
    at = at + graph.constant(offsets, np.float32).take(points)
    distances = read_map(graph, ltrb, 4, cells, points)
    near, far = distances.take([0, 1], axis=1), distances.take([2, 3], axis=1)
    return graph.concat([at - near, at + far], axis=1)


def _origins(
    graph: Graph,
    levels: Sequence[Level],
    number: int,
    cells: Value,
    strides: Sequence[int],
    pitch: str,
) -> Value:
    """(n, 2) float32 x, y of the first corner of some cells, px."""
    this, finest = levels[number][0], levels[0][0]
    width = this.size(3)
    xy = [(cells % width).reshape(-1, 1), (cells / width).reshape(-1, 1)]
    steps: list[Value | int] = [strides[number]] * 2
    if pitch == "image":
        steps = [finest.size(axis) * strides[0] / this.size(axis) for axis in (3, 2)]
    return graph.concat([at * step for at, step in zip(xy, steps, strict=True)], axis=1).to(
        np.float32
    )


def retinanet_candidates(
    graph: Graph,
    stage: Stage,
    levels: Sequence[Level],
    threshold: Value,
) -> list[Boxes]:
    """Those of RetinaNet, by class probability."""
    selection: Selection = stage.select_test
    anchors: AnchorGenerator = stage.anchor_generator
    coder: BoxCoder = selection.decode.keywords["coder"]  # type: ignore[attr-defined]
    found = []
    for number, (logits, deltas) in enumerate(levels):
        above = scores_above(graph, logits, num_labels(stage), threshold)
        best, scores = best_of_level(graph, above, above.scores, selection.settings.pre_nms_top_n)
        start = anchors_at(graph, anchors, levels, number, best.cells, best.points)
        codes = read_map(graph, deltas, 4, best.cells, best.points)
        found.append(Boxes(decode(graph, coder, codes, start), scores, best.labels))
    return found


def anchors_at(
    graph: Graph,
    anchors: AnchorGenerator,
    levels: Sequence[Level],
    number: int,
    cells: Value,
    points: Value,
) -> Value:
    """(n, 4) anchors of a level at some cells."""
    origins = _origins(graph, levels, number, cells, anchors.strides, anchors.pitch)
    shapes = list(anchors.cell_anchors.buffers())[number].float().numpy()
    both = graph.concat([origins, origins], axis=1)
    return both + graph.constant(shapes, np.float32).take(points)


def decode(graph: Graph, coder: BoxCoder, codes: Value, start: Value) -> Value:
    """(n, 4) boxes that codes lead to from other boxes, as ``BoxCoder.decode``."""
    offset = float(coder.pixel_offset)
    size = start.take([2, 3], axis=1) - start.take([0, 1], axis=1) + offset
    center = start.take([0, 1], axis=1) + size * 0.5
    codes = codes / graph.constant(coder.weights, np.float32)
    center = center + codes.take([0, 1], axis=1) * size
    growth = codes.take([2, 3], axis=1).clamp(None, float(coder.bbox_xform_clip))
    size = size * graph.op("Exp", growth)
    return graph.concat([center - size * 0.5, center + size * 0.5 - offset], axis=1)


CANDIDATES: Final[Mapping[str, Candidates]] = MappingProxyType(
    {"fcos": fcos_candidates, "retinanet": retinanet_candidates}
)
"""By the names of the families."""
