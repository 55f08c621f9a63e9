"""Layers of heads of detectron2, and of CenterMask2 on it, under our names.

They mean the same here under detectron2's rules (``Convention``).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from torch import Tensor

from maskrcnn_benchmark.weights.outputs import (
    background_first,
    shapes_first,
    weighted_offsets,
    with_unused_boxes,
    with_unused_class,
)

_BOX, _MASK = "roi_heads.box", "roi_heads.mask"
_MASKIOU, _KEYPOINT = "roi_heads.maskiou", "roi_heads.keypoint"


class _Layer(NamedTuple):
    """Where a layer has its place here.

    Attributes:
        name: ours, with groups of the pattern.
        change: what is done to weight and bias.
    """

    name: str
    change: Callable[[Tensor], Tensor] = lambda tensor: tensor


def _classes_of_anchors(tensor: Tensor) -> Tensor:
    return shapes_first("head.cls_score", tensor)


def _boxes_of_anchors(tensor: Tensor) -> Tensor:
    return shapes_first("head.bbox_pred", weighted_offsets(tensor))


_LAYERS: Final = {
    r"proposal_generator\.rpn_head\.conv": _Layer("rpn.head.conv"),
    r"proposal_generator\.rpn_head\.objectness_logits": _Layer("rpn.head.cls_logits"),
    r"proposal_generator\.rpn_head\.anchor_deltas": _Layer("rpn.head.bbox_pred"),
    r"roi_heads\.box_head\.fc1": _Layer(f"{_BOX}.feature_extractor.fc6"),
    r"roi_heads\.box_head\.fc2": _Layer(f"{_BOX}.feature_extractor.fc7"),
    r"roi_heads\.box_predictor\.cls_score": _Layer(f"{_BOX}.predictor.cls_score", background_first),
    r"roi_heads\.box_predictor\.bbox_pred": _Layer(
        f"{_BOX}.predictor.bbox_pred", with_unused_boxes
    ),
    r"proposal_generator\.fcos_head\.(bbox_pred|scales\.\d+)": _Layer(r"rpn.head.\1"),
    r"roi_heads\.mask_head\.(mask_fcn\d+|spatialAtt\.conv)": _Layer(
        rf"{_MASK}.feature_extractor.\1"
    ),
    r"roi_heads\.mask_head\.deconv": _Layer(f"{_MASK}.predictor.conv5_mask"),
    r"roi_heads\.mask_head\.predictor": _Layer(
        f"{_MASK}.predictor.mask_fcn_logits", with_unused_class
    ),
    r"roi_heads\.maskiou_head\.(maskiou_f\w+)": _Layer(rf"{_MASKIOU}.feature_extractor.\1"),
    r"roi_heads\.maskiou_head\.maskiou": _Layer(f"{_MASKIOU}.predictor.maskiou", with_unused_class),
    r"roi_heads\.keypoint_head\.(conv_fcn\d+)": _Layer(rf"{_KEYPOINT}.feature_extractor.\1"),
    r"roi_heads\.keypoint_head\.score_lowres": _Layer(f"{_KEYPOINT}.predictor.kps_score_lowres"),
    r"head\.(cls|bbox)_subnet\.(\d+)": _Layer(r"rpn.head.\1_tower.\2"),
    r"head\.cls_score": _Layer("rpn.head.cls_logits", _classes_of_anchors),
    r"head\.bbox_pred": _Layer("rpn.head.bbox_pred", _boxes_of_anchors),
}
_TENSORMASK_LAYERS: Final = {
    r"head\.(cls|bbox|mask)_subnet\.(\d+)": _Layer(r"rpn.head.\1_tower.\2"),
    r"head\.cls_score": _Layer("rpn.head.cls_logits"),
    r"head\.bbox_pred": _Layer("rpn.head.bbox_pred"),
    r"head\.mask_pred_0*(\d+)": _Layer(r"rpn.head.mask_pred.\1"),
    r"head\.mask_fuse\.0": _Layer("rpn.head.mask_fuse.0"),
}
# What RetinaNet, whose other layers have the same names, does not have.
_TENSORMASK_MARKS: Final = ("head.mask_pred_", "head.mask_fuse.")


class ConvertedTensor(NamedTuple):
    """A tensor of a head under our name.

    Attributes:
        name: ours.
        tensor: with our rows.
    """

    name: str
    tensor: Tensor


Layers = Mapping[str, _Layer]


def layers_of(names: Iterable[str]) -> Layers:
    """The layers of heads that a file with these names may hold."""
    is_tensormask = any(name.startswith(_TENSORMASK_MARKS) for name in names)
    return _TENSORMASK_LAYERS if is_tensormask else _LAYERS


def convert_head(name: str, tensor: Tensor, layers: Layers) -> ConvertedTensor | None:
    """A head's tensor under our name, None if no head here has such a layer.

    Args:
        name: of the tensor.
        tensor: itself.
        layers: as ``layers_of`` gives them for its file.
    """
    layer, _, parameter = name.rpartition(".")
    for pattern, ours in layers.items():
        found = re.fullmatch(pattern, layer)
        if found:
            return ConvertedTensor(f"{found.expand(ours.name)}.{parameter}", ours.change(tensor))
    return None
