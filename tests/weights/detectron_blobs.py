"""The tensors of a detector of ours as the blobs of Detectron, the Caffe2 program."""

import re
from collections.abc import Mapping

import numpy as np
from torch import Tensor

# Depth of a body -> number of the last block of each stage, which Detectron's pyramid is named by.
_LAST_BLOCKS = {50: (2, 3, 5, 2), 101: (2, 3, 22, 2), 152: (2, 7, 35, 2)}
_BRANCHES = {"1": "2a", "2": "2b", "3": "2c"}
# Ends of the names of layers that have a bias even in a model of group norms.
_WITHOUT_NORM = (
    *("head.conv", "cls_logits", "bbox_pred", "cls_score", "fc6", "fc7"),
    *("conv5_mask", "mask_fcn_logits"),
)
_FIXED = {
    "rpn.head.conv": "conv_rpn",
    "rpn.head.cls_logits": "rpn_cls_logits",
    "rpn.head.bbox_pred": "rpn_bbox_pred",
    "roi_heads.box.feature_extractor.fc6": "fc6",
    "roi_heads.box.feature_extractor.fc7": "fc7",
    "roi_heads.box.predictor.cls_score": "cls_score",
    "roi_heads.box.predictor.bbox_pred": "bbox_pred",
    "roi_heads.mask.predictor.conv5_mask": "conv5_mask",
    "roi_heads.mask.predictor.mask_fcn_logits": "mask_fcn_logits",
    "roi_heads.keypoint.predictor.kps_score_lowres": "kps_score_lowres",
}


def blobs_of(state_dict: Mapping[str, Tensor], depth: int) -> dict[str, np.ndarray]:
    """The blobs that Detectron would have saved for a model.

    Args:
        state_dict: of a two-stage detector or RetinaNet; frozen norms have the statistics 0 and 1.
        depth: 50, 101 or 152.
    """
    has_pyramid = any(name.startswith("backbone.fpn.") for name in state_dict)
    norm = "bn" if "backbone.body.stem.bn1.running_var" in state_dict else "gn"
    blobs = {}
    for name, value in state_dict.items():
        layer, _, parameter = name.rpartition(".")
        if parameter in ("running_mean", "running_var") or "cell_anchors" in name:
            continue
        blob = _body_blob(layer, norm) or _head_blob(layer, _LAST_BLOCKS[depth], has_pyramid)
        is_norm = re.search(r"\.(bn\d|downsample\.1)$", layer) or (
            norm == "gn" and value.dim() == 1
        )
        is_norm = is_norm and not layer.endswith(_WITHOUT_NORM)
        suffix = f"{norm}_{'s' if parameter == 'weight' else 'b'}" if is_norm else parameter[0]
        array = value.numpy()
        blobs[f"{blob}_{suffix}"] = _their_anchors(array, blob) if "retnet" in blob else array
    return blobs


def _their_anchors(array: np.ndarray, blob: str) -> np.ndarray:
    """Our outputs of RetinaNet, shape by shape, as theirs, scale by scale, without box weights."""
    if "_pred_" not in blob:
        return array
    anchors = array.reshape(3, 3, -1, *array.shape[1:]).swapaxes(0, 1)
    if "bbox" in blob:
        anchors = anchors / np.array([10, 10, 5, 5]).reshape(4, *[1] * (array.ndim - 1))
    return np.ascontiguousarray(anchors.reshape(array.shape), dtype=np.float32)


def _body_blob(layer: str, norm: str) -> str | None:
    if ".stem." in layer:
        return "res_conv1" if norm == "bn" and layer.endswith("bn1") else "conv1"
    found = re.search(r"\.layer(\d)\.(\d+)\.(downsample\.\d|conv\d|bn\d)$", layer)
    if found is None:
        return None
    stage, block, part = found.groups()
    branch = "1" if part.startswith("downsample") else _BRANCHES[part[-1]]
    return f"res{int(stage) + 1}_{block}_branch{branch}"


def _head_blob(layer: str, last_blocks: tuple[int, ...], has_pyramid: bool) -> str:
    # With group norm, a layer is a sequence of a convolution and its norm.
    layer, is_group = re.subn(r"(fpn_(?:inner|layer)\d|_fcn\d)\.[01]$", r"\1", layer)
    pyramid = re.fullmatch(r"backbone\.fpn\.fpn_(inner|layer)(\d)", layer)
    if pyramid:
        level = int(pyramid[2])
        stage = f"res{level + 1}_{last_blocks[level - 1]}_sum"
        if pyramid[1] == "layer":
            return f"fpn_{stage}"
        return f"fpn_inner_{stage}" + ("_lateral" if level < len(last_blocks) else "")
    conv = re.fullmatch(r"roi_heads\.(mask|keypoint)\.feature_extractor\.\w+_fcn(\d)", layer)
    if conv:
        mask = "_mask_fcn" if is_group else "_[mask]_fcn"
        return f"{mask}{conv[2]}" if conv[1] == "mask" else f"conv_fcn{conv[2]}"
    box_conv = re.fullmatch(r"roi_heads\.box\.feature_extractor\.xconvs\.(\d+)", layer)
    if box_conv:
        return f"head_conv{int(box_conv[1]) // 3 + 1}"
    tower = re.fullmatch(r"rpn\.head\.(cls|bbox)_tower\.(\d)", layer)
    if tower:
        return f"retnet_{tower[1]}_conv_n{int(tower[2]) // 2}_fpn3"
    if "backbone.fpn.top_blocks" in layer:
        return f"fpn_{layer[-1]}"
    return _FIXED[layer] + ("_fpn2" if has_pyramid and layer.startswith("rpn.") else "")
