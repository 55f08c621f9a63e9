"""The tensors of a detector of ours as the blobs of Detectron, the Caffe2 program."""

import re
from collections.abc import Mapping

import numpy as np
from torch import Tensor

# Depth of a body -> number of the last block of each stage, which Detectron's pyramid is named by.
_LAST_BLOCKS = {50: (2, 3, 5, 2), 101: (2, 3, 22, 2), 152: (2, 7, 35, 2)}
_BRANCHES = {"1": "2a", "2": "2b", "3": "2c"}
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
    """The blobs that Detectron would have saved for a model of frozen norms with statistics 0, 1.

    Args:
        state_dict: of a two-stage detector.
        depth: 50, 101 or 152.
    """
    has_pyramid = any(name.startswith("backbone.fpn.") for name in state_dict)
    blobs = {}
    for name, value in state_dict.items():
        layer, _, parameter = name.rpartition(".")
        if parameter in ("running_mean", "running_var") or "cell_anchors" in name:
            continue
        blob = _body_blob(layer) or _head_blob(layer, _LAST_BLOCKS[depth], has_pyramid)
        is_norm = re.search(r"\.(bn\d|downsample\.1)$", layer) is not None
        suffix = {"weight": "bn_s" if is_norm else "w", "bias": "bn_b" if is_norm else "b"}
        blobs[f"{blob}_{suffix[parameter]}"] = value.numpy()
    return blobs


def _body_blob(layer: str) -> str | None:
    if ".stem." in layer:
        return "conv1" if layer.endswith("conv1") else "res_conv1"
    found = re.search(r"\.layer(\d)\.(\d+)\.(downsample\.\d|conv\d|bn\d)$", layer)
    if found is None:
        return None
    stage, block, part = found.groups()
    branch = "1" if part.startswith("downsample") else _BRANCHES[part[-1]]
    return f"res{int(stage) + 1}_{block}_branch{branch}"


def _head_blob(layer: str, last_blocks: tuple[int, ...], has_pyramid: bool) -> str:
    pyramid = re.fullmatch(r"backbone\.fpn\.fpn_(inner|layer)(\d)", layer)
    if pyramid:
        level = int(pyramid[2])
        stage = f"res{level + 1}_{last_blocks[level - 1]}_sum"
        if pyramid[1] == "layer":
            return f"fpn_{stage}"
        return f"fpn_inner_{stage}" + ("_lateral" if level < len(last_blocks) else "")
    conv = re.fullmatch(r"roi_heads\.(mask|keypoint)\.feature_extractor\.\w+_fcn(\d)", layer)
    if conv:
        return f"_[mask]_fcn{conv[2]}" if conv[1] == "mask" else f"conv_fcn{conv[2]}"
    return _FIXED[layer] + ("_fpn2" if has_pyramid and layer.startswith("rpn.") else "")
