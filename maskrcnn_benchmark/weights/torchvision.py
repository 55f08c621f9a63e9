"""Weights of torchvision's detectors under our names.

The second versions (``_v2``) have norms in pyramid and heads, which are frozen here as those of the
body are. RetinaNet and FCOS have an output for the background, which no training ever raises: it is
left out, so that outputs are classes from 1.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from maskrcnn_benchmark.weights.imagenet import RESNET_SETTINGS, TORCH_BN_EPS
from maskrcnn_benchmark.weights.load_report import CheckpointError, WeightFile
from maskrcnn_benchmark.weights.outputs import weighted_offsets

DETECTOR_SETTINGS: Final = replace(RESNET_SETTINGS, convention="torchvision")
"""What all its detectors were trained with."""
_BACKBONE: Final = "backbone."
_OTHER_RULES: Final = (
    "anchors, boxes and scores follow torchvision's rules, which MODEL.CONVENTION torchvision and "
    "the files in configs/torchvision set"
)
_PYRAMID: Final = "backbone.fpn.inner_blocks."
_RESNET: Final = "backbone.body.layer1.0.conv1.weight"
_COUNTER: Final = ".num_batches_tracked"
_CENTERNESS: Final = "head.regression_head.bbox_ctrness.weight"
_RETINANET: Final = "head.classification_head.cls_logits.weight"
_NUM_LEVELS: Final = 5
_BOX_SIDES: Final = 4

Rename = Callable[[re.Match[str]], str]


def is_torchvision_detector(names: Iterable[str]) -> bool:
    """Whether names are those of a detector of torchvision with a feature pyramid."""
    return any(name.startswith(_PYRAMID) for name in names)


def convert_torchvision(
    state_dict: Mapping[str, Tensor],
    frozen_eps: float | None = None,
    *,
    same_rules: bool = True,
) -> WeightFile:
    """The tensors of a detector under our names.

    Args:
        state_dict: as torchvision's module has it, in the form of any of its versions.
        frozen_eps: epsilon of its frozen batch norms, which no file tells. None: that of the
            released files, 1e-5 in FCOS and 0 in the others. Live ones always have 1e-5.
        same_rules: whether the model follows torchvision's; otherwise body and pyramid alone are
            taken.

    Raises:
        CheckpointError: the body is no ResNet, or a layer is of no known detector.
    """
    if _RESNET not in state_dict:
        raise CheckpointError(
            "a detector of torchvision with another body than a ResNet, which none here is: its "
            f"names begin with {', '.join(list(state_dict)[:3])}"
        )
    layout = _Layout(state_dict)
    tensors: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        if not name.endswith(_COUNTER):
            tensors[layout.rename(name)] = value
    _convert_dense_head(tensors, layout)
    is_live = any(name.endswith(_COUNTER) for name in state_dict)
    released_eps = TORCH_BN_EPS if layout.is_fcos else 0.0
    eps = TORCH_BN_EPS if is_live else released_eps if frozen_eps is None else frozen_eps
    heads = tuple(name for name in state_dict if not name.startswith(_BACKBONE))
    if same_rules or not heads:
        return WeightFile(tensors, "of torchvision", bn_eps=eps, settings=DETECTOR_SETTINGS)
    backbone = {name: value for name, value in tensors.items() if name.startswith(_BACKBONE)}
    refused = {_OTHER_RULES: heads}
    return WeightFile(
        backbone, "of torchvision", bn_eps=eps, settings=DETECTOR_SETTINGS, refused=refused
    )


class _Layout:
    """Where the layers of one state dict have their place here.

    Args:
        state_dict: name to tensor.
    """

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.state_dict = state_dict
        self.is_fcos = _CENTERNESS in state_dict
        self.is_dense = _RETINANET in state_dict

    def rename(self, name: str) -> str:
        """Our name of a tensor.

        Raises:
            CheckpointError: the layer is of no known detector.
        """
        for pattern, rename in _LAYERS:
            found = pattern.fullmatch(name)
            if found:
                return rename(self, found)
        raise CheckpointError(f"a detector of torchvision with the unknown layer {name!r}")

    def pyramid(self, found: re.Match[str]) -> str:
        """A layer of the pyramid: blocks count from 0 there, ours from C2, which is 1."""
        role, block, part, parameter = found.groups()
        first = 2 if self.is_dense else 1
        # A layer without a norm is no sequence here, in old files of theirs neither.
        place = part if self._is_in(f"backbone.fpn.{role}_blocks.{block}.1.weight") else ""
        return f"backbone.fpn.fpn_{role}{int(block) + first}{place or ''}.{parameter}"

    def rpn_conv(self, found: re.Match[str]) -> str:
        """A convolution of the RPN: a lone one has no number here."""
        index, parameter = found.groups()
        is_alone = not self._is_in("rpn.head.conv.1.0.weight")
        place = "" if is_alone else f".{2 * int(index)}"
        return f"rpn.head.conv{place}.{parameter}"

    def mask_conv(self, found: re.Match[str]) -> str:
        """A convolution of the mask head, or the norm behind it."""
        index, part, parameter = found.groups()
        has_norm = self._is_in(f"roi_heads.mask_head.{index}.1.weight")
        place = f".{part}" if has_norm else ""
        return f"{_MASK}.mask_fcn{int(index) + 1}{place}.{parameter}"

    def tower(self, found: re.Match[str]) -> str:
        """A layer of a tower, in any of three ways of counting."""
        head, index, part, parameter = found.groups()
        tower = {"classification": "cls_tower", "regression": "bbox_tower"}[head]
        number = int(index)
        if part is not None:
            has_norm = self._is_in(f"head.{head}_head.conv.{index}.1.weight")
            number = 3 * number + int(part) if has_norm else 2 * number
        return f"rpn.head.{tower}.{number}.{parameter}"

    def _is_in(self, name: str) -> bool:
        return name in self.state_dict


def _to(template: str) -> Callable[[_Layout, re.Match[str]], str]:
    return lambda _, found: found.expand(template)


def _shifted(prefix: str, step: int, offset: int = 0) -> Callable[[_Layout, re.Match[str]], str]:
    """Numbers of layers times ``step`` plus ``offset`` behind ``prefix``."""
    return lambda _, found: f"{prefix}{int(found[1]) * step + offset}.{found[2]}"


_BOX, _MASK = "roi_heads.box.feature_extractor", "roi_heads.mask.feature_extractor"
_KEYPOINT = "roi_heads.keypoint.feature_extractor"
_LAYERS: Final = tuple(
    (re.compile(pattern), rename)
    for pattern, rename in (
        (r"backbone\.body\.((?:conv|bn)1\.\w+)", _to(r"backbone.body.stem.\1")),
        (r"(backbone\.body\.layer\d\..+)", _to(r"\1")),
        (r"backbone\.fpn\.(inner|layer)_blocks\.(\d)(\.[01])?\.(\w+)", _Layout.pyramid),
        (r"backbone\.fpn\.extra_blocks\.(p[67]\.\w+)", _to(r"backbone.fpn.top_blocks.\1")),
        (r"rpn\.head\.conv\.(weight|bias)", _to(r"rpn.head.conv.\1")),
        (r"rpn\.head\.conv\.(\d)\.0\.(\w+)", _Layout.rpn_conv),
        (r"(rpn\.head\.(?:cls_logits|bbox_pred)\.\w+)", _to(r"\1")),
        (r"roi_heads\.box_head\.(fc[67]\.\w+)", _to(rf"{_BOX}.\1")),
        (r"roi_heads\.box_head\.(\d)\.0\.(\w+)", _shifted(f"{_BOX}.xconvs.", 3)),
        (r"roi_heads\.box_head\.(\d)\.1\.(\w+)", _shifted(f"{_BOX}.xconvs.", 3, 1)),
        (r"roi_heads\.box_head\.\d\.(weight|bias)", _to(rf"{_BOX}.fc6.\1")),
        (r"roi_heads\.box_predictor\.(.+)", _to(r"roi_heads.box.predictor.\1")),
        (r"roi_heads\.mask_head\.(mask_fcn\d\.\w+)", _to(rf"{_MASK}.\1")),
        (r"roi_heads\.mask_head\.(\d)\.([01])\.(\w+)", _Layout.mask_conv),
        (r"roi_heads\.mask_predictor\.(.+)", _to(r"roi_heads.mask.predictor.\1")),
        # Theirs counts the ReLUs, too.
        (
            r"roi_heads\.keypoint_head\.(\d+)\.(\w+)",
            lambda _, found: f"{_KEYPOINT}.conv_fcn{int(found[1]) // 2 + 1}.{found[2]}",
        ),
        (r"roi_heads\.keypoint_predictor\.(.+)", _to(r"roi_heads.keypoint.predictor.\1")),
        (r"head\.(\w+)_head\.conv\.(\d+)(?:\.([01]))?\.(weight|bias)", _Layout.tower),
        (r"head\.classification_head\.cls_logits\.(\w+)", _to(r"rpn.head.cls_logits.\1")),
        (r"head\.regression_head\.bbox_reg\.(\w+)", _to(r"rpn.head.bbox_pred.\1")),
        (r"head\.regression_head\.bbox_ctrness\.(\w+)", _to(r"rpn.head.centerness.\1")),
    )
)


def _convert_dense_head(tensors: dict[str, Tensor], layout: _Layout) -> None:
    """Bring the outputs of RetinaNet or FCOS into our order and units."""
    if not layout.is_dense:
        return
    num_anchors = len(tensors["rpn.head.bbox_pred.bias"]) // _BOX_SIDES
    for parameter in ("weight", "bias"):
        logits = tensors[f"rpn.head.cls_logits.{parameter}"]
        per_anchor = logits.reshape(num_anchors, -1, *logits.shape[1:])
        tensors[f"rpn.head.cls_logits.{parameter}"] = per_anchor[:, 1:].flatten(0, 1)
        if not layout.is_fcos:
            boxes = f"rpn.head.bbox_pred.{parameter}"
            tensors[boxes] = weighted_offsets(tensors[boxes])
    if layout.is_fcos:
        for level in range(_NUM_LEVELS):
            tensors[f"rpn.head.scales.{level}.scale"] = torch.ones(1)
    else:
        _add_biases(tensors)


def _add_biases(tensors: dict[str, Tensor]) -> None:
    """Zeros for the convolutions of towers with norms, which have no bias there."""
    towers = re.compile(r"rpn\.head\.(?:cls|bbox)_tower\.\d+\.weight")
    for name in [name for name in tensors if towers.fullmatch(name)]:
        weight = tensors[name]
        if weight.dim() > 1:
            bias = name.replace(".weight", ".bias")
            tensors.setdefault(bias, weight.new_zeros(len(weight)))
