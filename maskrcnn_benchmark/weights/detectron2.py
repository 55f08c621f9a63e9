"""Weights of detectron2 and of what was built on it (CenterMask2), as far as they mean the same.

A tensor is taken if its layer computes the same from the same inputs here: always body, pyramid,
and of FCOS the towers, class and centerness layers; under detectron2's rules (``Convention``) its
distances and the heads of masks, too. The rest is refused, each part with its reason.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights.detectron2_heads import convert_head, layers_of
from maskrcnn_benchmark.weights.imagenet import RESNET_SETTINGS
from maskrcnn_benchmark.weights.load_report import WeightFile
from maskrcnn_benchmark.weights.vovnet import open_absent_gates

# Epsilon of detectron2's frozen batch norms.
BN_EPS = 1e-5
# Its default images, and what it calls the entries of a file that say otherwise.
_DEFAULT_SETTINGS = WeightSettings(True, (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
_MEAN, _STD = "pixel_mean", "pixel_std"
# Names of a ResNet alone, as its script for ImageNet weights of torchvision writes them.
_RESNET = {"stem.conv1.weight", "res2.0.conv1.weight"}
_CLASSIFIER = ("stem.fc.", "fc.", "linear.")

_BODY = "backbone.bottom_up."
_OURS = "backbone.body."
_RESNET_STEM = re.compile(r"stem\.conv1\.(?P<norm>norm\.)?(?P<parameter>\w+)")
_RESNET_BLOCK = re.compile(
    r"res(?P<stage>[2-5])\.(?P<block>\d+)\.(?P<layer>shortcut|conv\d)\.(?P<norm>norm\.)?"
    r"(?P<parameter>(?:offset\.|conv\.)?\w+)"
)
_FPN = re.compile(
    r"backbone\.fpn_(?P<role>lateral|output)(?P<level>\d)\.(?P<norm>norm\.)?(?P<parameter>\w+)"
)
_TOP = re.compile(r"backbone\.top_block\.(p[67])\.(weight|bias)")
_FCOS = "proposal_generator.fcos_head."
_FCOS_LAYER = re.compile(r"(cls_tower\.\d+|bbox_tower\.\d+|cls_logits|ctrness)\.(weight|bias)")

# A deformable layer is two: one finds offsets (and masks), one convolves.
_OFFSETS = re.compile(r"(.*conv\d?)_offset\.(weight|bias)")

_ROI_ALIGN = "RoI features are cut out with a half-pixel shift there and without it here"
_STRIDES = "FCOS regresses boxes in units of the stride there, in px here"
_ANCHORS = "anchors and boxes follow another pixel convention there (no inclusive pixel)"
_RULES = "under MODEL.CONVENTION detectron2 they mean the same"
_NO_SUCH_LAYER = (
    "no layer here is it: of detectron2's models those on a pyramid are here, without cascades "
    "and semantic heads"
)
# Which settings decide, there and here.
_ANCHOR_BUFFER = "anchor_generator.cell_anchors."
# Start of a name -> why it is not taken under other rules; the first that fits counts.
_REFUSALS = {
    f"{_FCOS}bbox_pred.": f"{_STRIDES}; {_RULES}",
    f"{_FCOS}scales.": f"{_STRIDES}; {_RULES}",
    _FCOS: "no layer of this name is known in FCOS",
    "proposal_generator.": _ANCHORS,
    "anchor_generator.": _ANCHORS,
    "head.": _ANCHORS,
    "roi_heads.box_predictor.": f"{_ROI_ALIGN}, and the background is the last class there",
    "roi_heads.mask_head.": f"{_ROI_ALIGN}; {_RULES}",
    "roi_heads.maskiou_head.": f"{_ROI_ALIGN}; {_RULES}",
    "roi_heads.": _ROI_ALIGN,
}


def is_detectron2(names: Iterable[str]) -> bool:
    """Whether names are those of a detector of detectron2."""
    starts = (_BODY, "backbone.fpn_lateral", "backbone.res2.", "proposal_generator.")
    return any(name.startswith(starts) for name in names)


def is_detectron2_resnet(names: Iterable[str]) -> bool:
    """Whether names are those of a ResNet with which a training of detectron2 starts."""
    return set(names) >= _RESNET


def convert_detectron2_resnet(state_dict: Mapping[str, Tensor], author: object) -> WeightFile:
    """A ResNet of detectron2, perhaps with its classifier, under the names of our body.

    Of the ``author`` "torchvision", whom the file's entry ``__author__`` names, the images are
    known.
    """
    ignored = tuple(name for name in state_dict if name.startswith(_CLASSIFIER))
    tensors = {_rename_body(k): value for k, value in state_dict.items() if k not in ignored}
    return WeightFile(
        tensors,
        "an ImageNet ResNet (detectron2's names)",
        is_backbone=True,
        bn_eps=BN_EPS,
        ignored=ignored,
        settings=RESNET_SETTINGS if author == "torchvision" else None,
    )


def convert_detectron2(state_dict: Mapping[str, Tensor], *, same_rules: bool = False) -> WeightFile:
    """The tensors that mean the same here, under our names, and the reasons against the others.

    Args:
        state_dict: of the file.
        same_rules: whether the model follows detectron2's.
    """
    tensors: dict[str, Tensor] = {}
    body: dict[str, Tensor] = {}
    refused: dict[str, tuple[str, ...]] = {}
    ignored: list[str] = []
    layers = layers_of(state_dict)
    for name, value in state_dict.items():
        reason = next((_REFUSALS[start] for start in _REFUSALS if name.startswith(start)), None)
        renamed = _rename(name, state_dict)
        converted = convert_head(name, value, layers) if renamed is None and same_rules else None
        if converted is not None:
            renamed, value = converted
        if _ANCHOR_BUFFER in name:
            ignored.append(name)
        elif renamed is None and reason is not None:
            reason = _NO_SUCH_LAYER if same_rules else reason
            refused[reason] = (*refused.get(reason, ()), name)
        elif renamed is not None and renamed.startswith(_OURS):
            body[renamed.removeprefix(_OURS)] = value
        elif name not in (_MEAN, _STD):
            tensors[renamed or name] = value
    complete_body = {f"{_OURS}{name}": value for name, value in open_absent_gates(body).items()}
    return WeightFile(
        complete_body | tensors,
        "of detectron2",
        bn_eps=BN_EPS,
        ignored=tuple(ignored),
        settings=_settings(state_dict),
        refused=refused,
    )


def _rename(name: str, state_dict: Mapping[str, Tensor]) -> str | None:
    if name.startswith(_FCOS):
        layer = _FCOS_LAYER.fullmatch(name, len(_FCOS))
        if layer is None:
            return None
        return f"rpn.head.{layer[1].replace('ctrness', 'centerness')}.{layer[2]}"
    top = _TOP.fullmatch(name)
    if top:
        return f"backbone.fpn.top_blocks.{top[1]}.{top[2]}"
    fpn = _FPN.fullmatch(name)
    if fpn:
        return _rename_fpn(fpn, state_dict)
    # A body without a pyramid has no ``bottom_up``.
    is_body = name.startswith((_BODY, "backbone.stem.", "backbone.res"))
    inside = _deformed(name, state_dict).removeprefix(_BODY).removeprefix("backbone.")
    return f"{_OURS}{_rename_body(inside)}" if is_body else None


def _deformed(name: str, state_dict: Mapping[str, Tensor]) -> str:
    """The name as if a deformable layer were two there, too: one of offsets and a plain one."""
    offsets = _OFFSETS.fullmatch(name)
    if offsets:
        return f"{offsets[1]}.offset.{offsets[2]}"
    layer, _, parameter = name.rpartition(".")
    return f"{layer}.conv.{parameter}" if f"{layer}_offset.weight" in state_dict else name


def _rename_fpn(fpn: re.Match[str], state_dict: Mapping[str, Tensor]) -> str:
    role = "inner" if fpn["role"] == "lateral" else "layer"
    # There levels count from the image, here from C2.
    layer = f"backbone.fpn.fpn_{role}{int(fpn['level']) - 1}"
    if f"backbone.fpn_{fpn['role']}{fpn['level']}.norm.weight" in state_dict:
        # Ours is then a sequence of the convolution and its norm.
        layer += ".1" if fpn["norm"] else ".0"
    return f"{layer}.{fpn['parameter']}"


def _rename_body(name: str) -> str:
    stem = _RESNET_STEM.fullmatch(name)
    if stem:
        return f"stem.{'bn1' if stem['norm'] else 'conv1'}.{stem['parameter']}"
    block = _RESNET_BLOCK.fullmatch(name)
    if block is None:
        return name
    if block["layer"] == "shortcut":
        layer = f"downsample.{1 if block['norm'] else 0}"
    else:
        layer = block["layer"].replace("conv", "bn") if block["norm"] else block["layer"]
    return f"layer{int(block['stage']) - 1}.{block['block']}.{layer}.{block['parameter']}"


def _settings(state_dict: Mapping[str, Tensor]) -> WeightSettings:
    has_heads = any(name.startswith(tuple(_REFUSALS)) for name in state_dict)
    settings = replace(_DEFAULT_SETTINGS, convention="detectron2" if has_heads else None)
    mean, std = (state_dict.get(name) for name in (_MEAN, _STD))
    if mean is None or std is None or mean.numel() != 3 or std.numel() != 3:
        return settings
    mean_of_each, std_of_each = (tuple(one.flatten().tolist()) for one in (mean, std))
    return replace(settings, pixel_mean=mean_of_each, pixel_std=std_of_each)
