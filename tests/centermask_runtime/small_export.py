"""A detector as ONNX that follows the contract of exports, and needs no weights.

Of a photo (H, W) it finds a cat on the left half and a dog in the middle, unless it is black.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from maskrcnn_benchmark.structures.paste_rules import LEGACY_PASTE

SIDE = 28
NAMES, IDS = ("cat", "dog"), (7, 9)
SCORES = (0.75, 0.5)
# x1, y1, x2, y2 in parts of the photo's sides, less a bit.
PARTS = ((0.0, 0.0, 0.5, 1.0), (0.3, 0.2, 0.8, 0.9))


def probabilities():
    """(2, 28, 28) that fade out from the centre, differently."""
    row = np.linspace(-1, 1, SIDE, dtype=np.float32)
    distance = row[:, None] ** 2 + np.array([1.0, 1.5])[:, None, None] * row[None] ** 2
    return np.exp(-distance).astype(np.float32)


def metadata(**changes):
    """What the file says of its model, as a dictionary."""
    content = {
        "format_version": 1,
        "package_version": "0.1.0",
        "kind": "detector",
        "model": "a test",
        "class_names": NAMES,
        "category_ids": IDS,
        "pixel_mean": [0.0, 0.0, 0.0],
        "pixel_std": [1.0, 1.0, 1.0],
        "channel_order": "rgb",
        "scale": 255,
        "resize": {
            "rule": "shorter_side",
            "sides": "truncate",
            "min_size": 64,
            "max_size": 96,
            "divisibility": 32,
        },
        "pixel_offset": 1,
        "mask_paste": {"rule": "inclusive", "threshold": 0.5, "padding": 1},
        "score_threshold": 0.4,
        "max_detections": 100,
        "nms_threshold": 0.6,
        "config": "",
        "opset": 17,
    }
    return content | changes


def _constants():
    values = {
        "parts": np.array(PARTS, dtype=np.float32),
        "all_labels": np.array([1, 2], dtype=np.int64),
        "all_scores": np.array(SCORES, dtype=np.float32),
        "all_masks": probabilities(),
        "two": np.array([2], dtype=np.int64),
        "nothing": np.array([0], dtype=np.int64),
        "first": np.array([0], dtype=np.int64),
        "sides": np.array([1, 0, 1, 0], dtype=np.int64),
    }
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _nodes():
    """Boxes are parts of the photo; two objects, or none where every pixel is 0."""
    node = helper.make_node
    nodes = [
        node("Shape", ["image"], ["shape"]),
        node("Gather", ["shape", "sides"], ["wh"]),
        node("Cast", ["wh"], ["wh_float"], to=TensorProto.FLOAT),
        node("Mul", ["parts", "wh_float"], ["all_boxes"]),
        node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
        node("Cast", ["brightest"], ["is_bright"], to=TensorProto.BOOL),
        node("Where", ["is_bright", "two", "nothing"], ["count"]),
        node("Squeeze", ["count"], ["num_detections"]),
    ]
    names = ("boxes", "labels", "scores", "masks")
    nodes += [node("Slice", [f"all_{name}", "first", "count"], [name]) for name in names]
    return [*nodes, node("Identity", ["scores"], ["mask_scores"])]


def write_export(path, content=None, *, leave_out=(), input_shape=("height", "width", 3)):
    """Write the model to a file, with this metadata (None: none at all), and return the path."""
    value = helper.make_tensor_value_info
    outputs = {
        "boxes": (TensorProto.FLOAT, ["n", 4]),
        "labels": (TensorProto.INT64, ["n"]),
        "scores": (TensorProto.FLOAT, ["n"]),
        "mask_scores": (TensorProto.FLOAT, ["n"]),
        "masks": (TensorProto.FLOAT, ["n", SIDE, SIDE]),
        "num_detections": (TensorProto.INT64, []),
    }
    graph = helper.make_graph(
        _nodes(),
        "test",
        [value("image", TensorProto.UINT8, input_shape)],
        [value(name, *each) for name, each in outputs.items() if name not in leave_out],
        _constants(),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    if content is not None:
        helper.set_model_props(model, {"centermask": json.dumps(content)})
    onnx.save(model, path)
    return path


def expected_coco(size_wh, image_id=1):
    """What is found on a photo of this size, pasted by the package's own operator."""
    import torch

    from maskrcnn_benchmark.engine.detections import Detections
    from maskrcnn_benchmark.structures.bounding_box import BoxList
    from maskrcnn_benchmark.structures.predicted_masks import BoxMasks

    width, height = size_wh
    corners = np.array(PARTS, dtype=np.float32) * np.array([width, height] * 2, dtype=np.float32)
    boxes = BoxList(torch.from_numpy(corners), size_wh)
    boxes.add_field("labels", torch.tensor([1, 2]))
    boxes.add_field("scores", torch.tensor(SCORES))
    boxes.add_field("mask_scores", torch.tensor(SCORES))
    masks = torch.from_numpy(probabilities())[:, None]
    boxes.add_field("mask", BoxMasks(masks, boxes.bbox, size_wh, LEGACY_PASTE))
    ids = dict(enumerate(IDS, start=1))
    return Detections(boxes, dict(enumerate(NAMES, start=1)), ids).to_coco(image_id)
