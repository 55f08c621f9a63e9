"""The network alone: normalised images in, the maps that detections are selected from out.

For programs that resize, select and segment by themselves, and for detectors whose selection no
standard operator does.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.export.metadata import MapRecord
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

_MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "features": "pyramid map, from which the heads behind pool",
        "logits": "class scores before the sigmoid, one channel a point of the cell and class",
        "ltrb": "distances to the left, upper, right, lower side, px of the input",
        "centerness": "before the sigmoid",
        "deltas": "offsets from the anchors, dx, dy, dw, dh",
    }
)


class DenseOutputs(NamedTuple):
    """Maps of all levels, or what stands for them in a graph.

    Attributes:
        features: of the pyramid.
        outputs: what the head predicts, as the dense detector's own named tuple.
    """

    features: Sequence[Any]
    outputs: Any


def describe_maps(model: GeneralizedRCNN) -> tuple[MapRecord, ...]:
    """The outputs of the dense part of a model, in their order, with names and strides."""
    stage: Any = model.rpn
    backbone: Any = model.backbone
    strides = [level.stride for level in backbone.levels]
    fields = ("features", *stage.outputs._fields)
    own = _strides_of_head(stage)
    return tuple(
        MapRecord(name=f"{field}_{number}", stride=stride, meaning=_MEANINGS.get(field, field))
        for field in fields
        for number, stride in enumerate(strides if field == "features" else own)
    )


def _strides_of_head(stage: Any) -> Sequence[int]:  # noqa: ANN401 - a DenseStage
    points = stage.anchor_generator
    strides: Sequence[int] = getattr(points, "strides", None) or points.keywords["strides"]
    return strides


def group_maps(model: GeneralizedRCNN, maps: Sequence[Any]) -> DenseOutputs:
    """The outputs of ``DensePart`` in groups."""
    stage: Any = model.rpn
    num_levels = len(_strides_of_head(stage))
    first = len(maps) - num_levels * len(stage.outputs._fields)
    fields = [list(maps[at : at + num_levels]) for at in range(first, len(maps), num_levels)]
    return DenseOutputs(maps[:first], stage.outputs(*fields))


@torch.no_grad()
def detect_on_maps(model: GeneralizedRCNN, maps: Sequence[Tensor], images: ImageList) -> BoxList:
    """What our own selection and heads find with the maps of the dense part.

    Args:
        model: in evaluation mode.
        maps: of its dense part.
        images: of which they were computed, one.
    """
    stage: Any = model.rpn
    features, outputs = group_maps(model, maps)
    boxes = stage.select_test(outputs, stage.anchor_generator(features), images.image_sizes)
    if model.has_roi_heads:
        boxes, _ = model.roi_heads(features, boxes, None)
    found: BoxList = boxes[0] if model.finish is None else model.finish(boxes[0])
    return found
