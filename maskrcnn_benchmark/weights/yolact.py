"""Weights of YOLACT's authors under our names.

Their files hold bare state dicts; the first ones have a second copy of the body and more layers
than are used.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights.load_report import CheckpointError, WeightFile, summarize

# Epsilon of its batch norms.
BN_EPS = 1e-5
_MARK = "prediction_layers.0.bbox_layer.weight"
_DARKNET_MARK = "backbone._preconv.0.weight"
_RESNET_IMAGES = WeightSettings(
    to_bgr255=False,
    pixel_mean=(123.68 / 255, 116.78 / 255, 103.94 / 255),
    pixel_std=(58.40 / 255, 57.12 / 255, 57.38 / 255),
    stride_in_1x1=False,
)
_DARKNET_IMAGES = WeightSettings(False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
# The copy, and layers above P7.
_UNUSED = re.compile(r"backbone\.layer(?!s).*|fpn\.downsample_layers\.([2-9]|\d\d+)\..*")

_BODY = "backbone.body."
_STAGE = re.compile(r"backbone\.layers\.(\d+)\.(.+)")
# Their layer -> ours; what follows is a parameter, or a layer inside.
_LAYERS = {
    "backbone.conv1": f"{_BODY}stem.conv1",
    "backbone.bn1": f"{_BODY}stem.bn1",
    "backbone._preconv": f"{_BODY}stem.first",
    # Theirs count from C5 on, ours from C2.
    **{f"fpn.lat_layers.{n}": f"backbone.fpn.fpn_inner{4 - n}" for n in range(3)},
    **{f"fpn.pred_layers.{n}": f"backbone.fpn.fpn_layer{4 - n}.0" for n in range(3)},
    **{f"fpn.downsample_layers.{n}": f"backbone.fpn.top_blocks.p{6 + n}" for n in range(2)},
    **{f"proto_net.{2 * n}": f"rpn.head.protonet.before.{n}.0" for n in range(3)},
    "proto_net.8": "rpn.head.protonet.after.0",
    "proto_net.10": "rpn.head.protonet.last.0",
    "prediction_layers.0.upfeature.0": "rpn.head.shared.0",
    "prediction_layers.0.bbox_layer": "rpn.head.bbox_pred",
    "prediction_layers.0.conf_layer": "rpn.head.conf_pred",
    "prediction_layers.0.mask_layer": "rpn.head.mask_pred",
    "semantic_seg_conv": "rpn.head.semantic",
    "maskiou_net.maskiou_net.10": "rpn.select_test.maskiou_net.maskiou_pred",
    "maskiou_net.maskiou_net": "rpn.select_test.maskiou_net.layers",
}


def is_yolact(names: Iterable[str]) -> bool:
    """Whether names are those of a YOLACT."""
    return _MARK in names


def convert_yolact(state_dict: Mapping[str, Tensor]) -> WeightFile:
    """All tensors under our names.

    Raises:
        CheckpointError: a name that is unknown.
    """
    ignored = tuple(filter(_UNUSED.fullmatch, state_dict))
    is_darknet = _DARKNET_MARK in state_dict
    renamed = {name: _rename(name, is_darknet) for name in state_dict if name not in ignored}
    unknown = tuple(name for name, new in renamed.items() if new is None)
    if unknown:
        raise CheckpointError(f"names that no YOLACT has: {summarize(unknown)}")
    return WeightFile(
        {new: state_dict[name] for name, new in renamed.items() if new is not None},
        "of YOLACT's authors",
        bn_eps=BN_EPS,
        ignored=ignored,
        settings=_DARKNET_IMAGES if is_darknet else _RESNET_IMAGES,
    )


def rename_darknet(name: str) -> str:
    """Our name inside a body of a tensor of a DarkNet, as YOLACT's authors name them."""
    return (_rename(f"backbone.{name}", is_darknet=True) or name).removeprefix(_BODY)


def _rename(name: str, is_darknet: bool) -> str | None:
    stage = _STAGE.fullmatch(name)
    if stage and is_darknet:
        within_stem = "stem." if stage[1] == "0" else ""
        return f"{_BODY}{within_stem}layer{stage[1]}.{stage[2]}"
    if stage:
        return f"{_BODY}layer{int(stage[1]) + 1}.{stage[2]}"
    layer = next((layer for layer in _LAYERS if name.startswith(f"{layer}.")), None)
    return None if layer is None else _LAYERS[layer] + name.removeprefix(layer)
