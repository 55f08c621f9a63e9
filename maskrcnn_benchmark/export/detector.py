"""A whole model as one ONNX graph: from an 8-bit photo to detections in px of the photo.

Shapes: N detections, M side of a mask.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch

from maskrcnn_benchmark.export.candidates import CANDIDATES, num_labels
from maskrcnn_benchmark.export.dense import group_maps
from maskrcnn_benchmark.export.graph import Graph, Value
from maskrcnn_benchmark.export.heads import Frame, pool
from maskrcnn_benchmark.export.keypoints import Points, locate
from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_benchmark.export.parts import (
    BOX,
    DENSE,
    KEYPOINTS,
    MASKS,
    BoxPart,
    DensePart,
    KeypointPart,
    MaskPart,
    write_box_part,
    write_dense_part,
    write_mask_part,
)
from maskrcnn_benchmark.export.pixels import NetworkInput, prepare
from maskrcnn_benchmark.export.selection import Boxes, Limits, clip, join, select
from maskrcnn_benchmark.export.two_stage import classify, propose
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.keypoint_head import ROIKeypointHead
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import ROIMaskHead
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.maskiou_head import ROIMaskIoUHead


class Maps(NamedTuple):
    """What the dense part computes.

    Attributes:
        features: of the pyramid, finest first.
        levels: for each level its map of each output of the head.
    """

    features: Sequence[Value]
    levels: Sequence[Sequence[Value]]


class Masks(NamedTuple):
    """What the mask heads add to the boxes.

    Attributes:
        masks: (N, M, M) probabilities.
        scores: (N,).
    """

    masks: Value
    scores: Value


class Found(NamedTuple):
    """The detections, px of the resized image.

    Attributes:
        boxes: of them.
        masks: None of a model without masks.
        points: None of a model without keypoints.
    """

    boxes: Boxes
    masks: Masks | None
    points: Points | None


def write_detector(
    model: GeneralizedRCNN, family: str, metadata: ExportMetadata, *, narrow: bool = False
) -> onnx.ModelProto:
    """The whole of a model in evaluation mode on the CPU, with its metadata.

    Args:
        model: of parts that ``refusals`` lets pass.
        family: of the dense detector.
        metadata: what the file says of itself.
        narrow: as for ``Graph``.
    """
    graph = Graph(narrow=narrow)
    image = graph.input("image", np.uint8, ("height", "width", 3))
    given = prepare(graph, image, metadata)
    maps = _dense(graph, model, given.images, metadata.resize.divisibility)
    boxes = _boxes(graph, model, family, maps, given)
    masks = _masks(graph, model, maps, boxes, given, metadata)
    points = _points(graph, model, maps, boxes, given, metadata)
    found = Found(boxes, masks, points)
    if model.finish is not None:
        found = _finish(graph, found, given, metadata.pixel_offset)
    _name_outputs(graph, found, given)
    return graph.model("detector", {METADATA_KEY: metadata.to_json()})


def write_dense(
    model: GeneralizedRCNN, metadata: ExportMetadata, size_hw: tuple[int, int] | None
) -> onnx.ModelProto:
    """The dense part of a model in evaluation mode on the CPU, with its metadata.

    Args:
        model: any whose maps the metadata name.
        metadata: what the file says of itself.
        size_hw: of its images; None: any multiples of the divisor.
    """
    graph = Graph()
    sides = size_hw or ("height", "width")
    images = graph.input("images", np.float32, (1, 3, *sides))
    part = write_dense_part(DensePart(model), metadata.resize.divisibility, size_hw)
    for record, value in zip(metadata.maps, graph.inline(part, [images], DENSE), strict=True):
        graph.output(record.name, value, (1, None, None, None))
    return graph.model("dense", {METADATA_KEY: metadata.to_json()})


def _dense(graph: Graph, model: GeneralizedRCNN, images: Value, divisor: int) -> Maps:
    values = graph.inline(write_dense_part(DensePart(model), divisor), [images], DENSE)
    features, outputs = group_maps(model, values)
    return Maps(features, list(zip(*outputs, strict=True)))


def _boxes(
    graph: Graph, model: GeneralizedRCNN, family: str, maps: Maps, given: NetworkInput
) -> Boxes:
    stage: Any = model.rpn
    hw = (given.height, given.width)
    if "box" in (model.roi_heads if model.has_roi_heads else ()):
        return _boxes_of_two_stages(graph, model, maps, given)
    settings = stage.select_test.settings
    threshold = graph.constant(settings.score_threshold, np.float32)
    candidates = join(graph, CANDIDATES[family](graph, stage, maps.levels, threshold))
    limits = Limits(
        nms_threshold=settings.nms_threshold,
        most=settings.post_nms_top_n,
        min_size=settings.min_size,
        pixel_offset=settings.pixel_offset,
        clips=settings.clips,
    )
    return select(graph, candidates, hw, limits, num_labels(stage))


def _boxes_of_two_stages(
    graph: Graph, model: GeneralizedRCNN, maps: Maps, given: NetworkInput
) -> Boxes:
    head: Any = model.roi_heads["box"]
    hw = (given.height, given.width)
    proposals = propose(graph, model.rpn, maps.levels, hw)
    coder = head.post_processor.box_coder
    frame = Frame(given.height, given.width, coder.pixel_offset)
    pooled, shape = _pool(graph, model, head, maps, proposals, frame)
    part = BoxPart(head)
    outputs = graph.inline(write_box_part(part, shape), [pooled], BOX)
    with torch.no_grad():
        probs, offsets = part(torch.zeros(1, *shape))
    sizes = (probs.shape[1], offsets.shape[1] // 4)
    settings = head.post_processor.settings
    threshold = graph.constant(settings.score_threshold, np.float32)
    return classify(graph, head.post_processor, outputs, proposals, hw, threshold, sizes)


def _masks(
    graph: Graph,
    model: GeneralizedRCNN,
    maps: Maps,
    boxes: Boxes,
    given: NetworkInput,
    metadata: ExportMetadata,
) -> Masks | None:
    if not model.has_roi_heads:
        return None
    heads = dict(model.roi_heads.items())
    mask, maskiou = heads.get("mask"), heads.get("maskiou")
    if not isinstance(mask, ROIMaskHead):
        return None
    assert maskiou is None or isinstance(maskiou, ROIMaskIoUHead)
    part = MaskPart(mask, maskiou)
    frame = Frame(given.height, given.width, metadata.pixel_offset)
    pooled, shape = _pool(graph, model, mask, maps, boxes.corners, frame)
    written = write_mask_part(part, shape)
    return Masks(*graph.inline(written, [pooled, boxes.labels, boxes.scores], MASKS))


def _points(
    graph: Graph,
    model: GeneralizedRCNN,
    maps: Maps,
    boxes: Boxes,
    given: NetworkInput,
    metadata: ExportMetadata,
) -> Points | None:
    head = dict(model.roi_heads.items()).get("keypoint") if model.has_roi_heads else None
    if not isinstance(head, ROIKeypointHead):
        return None
    part = KeypointPart(head)
    frame = Frame(given.height, given.width, metadata.pixel_offset)
    pooled, shape = _pool(graph, model, head, maps, boxes.corners, frame)
    (heatmaps,) = graph.inline(write_box_part(part, shape), [pooled], KEYPOINTS)
    with torch.no_grad():
        _, num_points, _, side = part(torch.zeros(1, *shape)).shape
    return locate(graph, heatmaps, boxes.corners, (num_points, side))


def _pool(
    graph: Graph,
    model: GeneralizedRCNN,
    head: Any,  # noqa: ANN401 - of any kind that pools
    maps: Maps,
    corners: Value,
    frame: Frame,
) -> tuple[Value, tuple[int, int, int]]:
    """What a head pools in boxes (N, 4), and its shape (F, M, M) for one of them."""
    pooler: Pooler = head.feature_extractor.pooler
    channels = model.backbone.out_channels
    assert isinstance(channels, int)
    height, width = pooler.output_size
    return pool(graph, pooler, maps.features, corners, frame), (channels, height, width)


def _finish(graph: Graph, found: Found, given: NetworkInput, pixel_offset: int) -> Found:
    """The detections clipped to the image, without those of which nothing lies in it."""
    boxes, masks, points = found
    corners = clip(graph, boxes.corners, (given.height, given.width), pixel_offset)
    boxes = boxes._replace(corners=corners)
    x1, y1, x2, y2 = (corners.take(number, axis=1) for number in range(4))
    is_there = graph.op("And", x2 > x1, y2 > y1)
    inside = graph.nonzero(is_there)
    return Found(
        boxes.take(inside),
        masks and Masks(*(value.take(inside) for value in masks)),
        points and Points(*(value.take(inside) for value in points)),
    )


def _name_outputs(graph: Graph, found: Found, given: NetworkInput) -> None:
    boxes, masks, points = found
    ratios = graph.concat([given.ratios_xy, given.ratios_xy])
    graph.output("boxes", boxes.corners * ratios, ("detections", 4))
    graph.output("labels", boxes.labels, ("detections",))
    graph.output("scores", boxes.scores, ("detections",))
    graph.output("mask_scores", masks.scores if masks else boxes.scores, ("detections",))
    if masks:
        graph.output("masks", masks.masks, ("detections", "mask_height", "mask_width"))
    if points:
        places = points.places * given.ratios_xy
        graph.output("keypoints", places, ("detections", "points", 2))
        graph.output("keypoint_scores", points.scores, ("detections", "points"))
    graph.output("num_detections", boxes.scores.size(0), ())
