"""Weights of Detectron, the Caffe2 program, under our names.

A blob is one named array. ``res4_5_branch2b_w`` is the weight of the second convolution of block 5
in ResNet stage 4 (our ``layer3``); ``_bn_s`` and ``_bn_b`` are the scale and shift into which a
trained batch norm was folded, ``_gn_s`` and ``_gn_b`` those of a group norm.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.weights.load_report import CheckpointError, WeightFile
from maskrcnn_benchmark.weights.outputs import shapes_first, weighted_offsets
from maskrcnn_benchmark.weights.plain_pickle import read_plain_pickle

_BRANCH_INDEX = {"2a": 1, "2b": 2, "2c": 3}
_PARAMETERS = {"w": "weight", "b": "bias"}
_NORM_PARAMETERS = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_BLOB = re.compile(r"(?P<layer>.+?)_((?P<norm>bn|gn)_(?P<statistic>s|b|rm|riv)|(?P<part>[wb]))")
# The ImageNet classifier, the fixed kernel with which heatmaps are enlarged (here interpolation,
# the same but for the outermost cells), and what the solver kept.
_UNNEEDED = re.compile(r"(fc1000|pred|last_out_L1000|kps_score)_[wb]|.*_momentum|lr")
_RETINANET_OUTPUTS = ("retnet_cls_pred", "retnet_bbox_pred")


class _Layer(NamedTuple):
    """Our names of one Caffe2 layer.

    Attributes:
        conv: of the convolution or fully connected layer.
        norm: of the norm behind it, None if nothing but a convolution has a place there.
        is_body: whether it belongs to the ResNet body, whose convolutions have no bias.
    """

    conv: str
    norm: str | None = None
    is_body: bool = False


def load_caffe2_weights(path: str | os.PathLike[str]) -> WeightFile:
    """The weights of a Detectron ``.pkl`` file: a ResNet(XT) body, and a detector's if it has one.

    Body tensors are named as inside the body (``layer1.0.conv1.weight``), all others in full
    (``backbone.fpn.fpn_inner1.weight``).

    Raises:
        CheckpointError: the file is damaged, would run code, or is not one of Detectron's.
    """
    content = read_plain_pickle(path)
    blobs = content.get("blobs", content) if isinstance(content, dict) else content
    if not isinstance(blobs, dict) or "conv1_w" not in blobs:
        raise CheckpointError(
            f"{path}: expected a Caffe2 Detectron file, a dictionary of blobs such as conv1_w and "
            f"res2_0_branch2a_w; found {_describe(content)}"
        )
    return convert_blobs({k: v for k, v in blobs.items() if isinstance(v, np.ndarray)})


def convert_blobs(blobs: Mapping[str, np.ndarray]) -> WeightFile:
    """The tensors of Caffe2 blobs under our names; blobs of no known layer keep theirs.

    A folded batch norm gets mean 0 and variance 1. The bias that a few files carry for body
    convolutions is folded into the norm's shift.
    """
    tensors: dict[str, Tensor] = {}
    ignored = []
    for name, blob in blobs.items():
        if _UNNEEDED.fullmatch(name):
            ignored.append(name)
        else:
            renamed = _rename(name, blobs) or name
            tensor = torch.from_numpy(np.array(blob, dtype=np.float32))
            is_output = name.startswith(_RETINANET_OUTPUTS)
            tensors[renamed] = _reorder_anchors(name, tensor) if is_output else tensor
    for name in blobs:
        _complete_batch_norm(name, blobs, tensors)
    for name in [name for name in tensors if _is_body_conv_bias(name)]:
        del tensors[name]
    return WeightFile(tensors, "a Caffe2 Detectron model", is_backbone=True, ignored=tuple(ignored))


def _rename(name: str, blobs: Mapping[str, np.ndarray]) -> str | None:
    match = _BLOB.fullmatch(name)
    layer = _layer_of(match["layer"], blobs) if match else None
    if match is None or layer is None:
        return None
    if match["part"]:
        return f"{layer.conv}.{_PARAMETERS[match['part']]}"
    return f"{layer.norm}.{_NORM_PARAMETERS[match['statistic']]}" if layer.norm else None


def _layer_of(layer: str, blobs: Mapping[str, np.ndarray]) -> _Layer | None:
    if layer in ("conv1", "res_conv1"):
        return _Layer("stem.conv1", "stem.bn1", is_body=True)
    block = re.fullmatch(r"res(\d)_(\d+)_branch(1|2[abc])", layer)
    if block:
        stage, index, branch = block.groups()
        prefix = f"layer{int(stage) - 1}.{index}"
        if branch == "1":
            return _Layer(f"{prefix}.downsample.0", f"{prefix}.downsample.1", is_body=True)
        number = _BRANCH_INDEX[branch]
        return _Layer(f"{prefix}.conv{number}", f"{prefix}.bn{number}", is_body=True)
    for pattern, rename in _HEADS:
        found = re.fullmatch(pattern, layer)
        if found:
            ours = rename(found)
            # With group norm, our layer is the sequence of a convolution and its norm.
            has_norm = f"{layer}_gn_s" in blobs
            return _Layer(f"{ours}.0", f"{ours}.1") if has_norm else _Layer(ours)
    return _layer_of_box_convs(layer, blobs)


def _layer_of_box_convs(layer: str, blobs: Mapping[str, np.ndarray]) -> _Layer | None:
    """The box head's convolutions are one sequence of ours: convolution, perhaps norm, ReLU."""
    found = re.fullmatch(r"head_conv(\d+)", layer)
    if found is None:
        return None
    has_norm = f"{layer}_gn_s" in blobs
    first = (int(found[1]) - 1) * (3 if has_norm else 2)
    sequence = "roi_heads.box.feature_extractor.xconvs"
    return _Layer(f"{sequence}.{first}", f"{sequence}.{first + 1}" if has_norm else None)


def _to(template: str) -> Callable[[re.Match[str]], str]:
    return lambda found: found.expand(template)


# Caffe2 counts FPN levels by ResNet stage (2..5), we by the FPN's own number (1..4).
_HEADS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (
        r"fpn_inner_res(\d)_\d+_sum(?:_lateral)?",
        lambda found: f"backbone.fpn.fpn_inner{int(found[1]) - 1}",
    ),
    (r"fpn_res(\d)_\d+_sum", lambda found: f"backbone.fpn.fpn_layer{int(found[1]) - 1}"),
    (r"conv_rpn(?:_fpn2)?", _to("rpn.head.conv")),
    (r"rpn_(cls_logits|bbox_pred)(?:_fpn2)?", _to(r"rpn.head.\1")),
    (r"(fc6|fc7)", _to(r"roi_heads.box.feature_extractor.\1")),
    (r"(cls_score|bbox_pred)", _to(r"roi_heads.box.predictor.\1")),
    # The brackets are missing where the head has group norms.
    (r"_(?:\[mask\]|mask)_fcn(\d)", _to(r"roi_heads.mask.feature_extractor.mask_fcn\1")),
    (r"(conv5_mask|mask_fcn_logits)", _to(r"roi_heads.mask.predictor.\1")),
    (r"conv_fcn(\d)", _to(r"roi_heads.keypoint.feature_extractor.conv_fcn\1")),
    (r"(kps_score_lowres)", _to(r"roi_heads.keypoint.predictor.\1")),
    (r"fpn_([67])", _to(r"backbone.fpn.top_blocks.p\1")),
    # Our towers count the ReLUs between the convolutions, too.
    (
        r"retnet_(cls|bbox)_conv_n(\d)_fpn3",
        lambda found: f"rpn.head.{found[1]}_tower.{2 * int(found[2])}",
    ),
    (r"retnet_cls_pred_fpn3", _to("rpn.head.cls_logits")),
    (r"retnet_bbox_pred_fpn3", _to("rpn.head.bbox_pred")),
)


def _reorder_anchors(name: str, tensor: Tensor) -> Tensor:
    """Weight or bias of a RetinaNet output in our order of anchors, boxes in our units."""
    weighted = weighted_offsets(tensor) if "bbox" in name else tensor
    return shapes_first(name, weighted)


def _complete_batch_norm(
    name: str, blobs: Mapping[str, np.ndarray], tensors: dict[str, Tensor]
) -> None:
    match = _BLOB.fullmatch(name)
    layer = _layer_of(match["layer"], blobs) if match else None
    if match is None or layer is None or match["norm"] != "bn" or match["statistic"] != "s":
        return
    scale = tensors[f"{layer.norm}.weight"]
    tensors.setdefault(f"{layer.norm}.running_mean", torch.zeros_like(scale))
    tensors.setdefault(f"{layer.norm}.running_var", torch.ones_like(scale))
    bias = tensors.get(f"{layer.conv}.bias")
    if bias is not None and f"{layer.norm}.bias" in tensors:
        tensors[f"{layer.norm}.bias"] += scale * bias


def _is_body_conv_bias(name: str) -> bool:
    return re.fullmatch(r"(stem|layer\d\.\d+)\.(conv\d|downsample\.0)\.bias", name) is not None


def _describe(content: object) -> str:
    if isinstance(content, dict):
        return f"a dictionary of {', '.join(map(repr, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"
