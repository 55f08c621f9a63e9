"""Weights of image classifiers, renamed to the names that our backbones give their tensors.

The renamed tensors carry the names inside a backbone's body (``layer1.0.conv1.weight``), which are
the ends of a detector's names (``backbone.body.layer1.0.conv1.weight``).
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.vovnet import (
    is_timm_vovnet,
    is_vovnet,
    open_absent_gates,
    rename_timm_vovnet,
)

# The epsilon of torch's batch norms, with which all these classifiers were trained.
# UPSTREAM(trained-epsilon): the original loaded trained variances as they are into frozen batch
# norms, which have no epsilon. Here that of training goes along, as the classifier computes.
TORCH_BN_EPS = 1e-5
# What torchvision and timm train most of their networks with.
TORCHVISION_SETTINGS = WeightSettings(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_QUANTIZED_SETTINGS = WeightSettings(True, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
_CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.")
_HRNET_CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", *_CLASSIFIERS)
_HRNET_BRANCH = "stage2.0.branches.0.0.conv1.weight"
_LAST_MOBILENET_BLOCK = 17
_UNKNOWN_KIND = "a bare backbone"
_QUANTIZED_PARTS = ("weight_u8", "scale", "zero_point", "bias")


class BackboneWeights(NamedTuple):
    """The tensors of a classifier's body.

    Attributes:
        tensors: our name inside the body to tensor.
        bn_eps: epsilon of the batch norms it was trained with, 0 where none is needed.
        kind: what it is, in words.
        ignored: names of the file that no detector needs.
        settings: what networks of this kind were trained with, None if that varies.
    """

    tensors: dict[str, Tensor]
    bn_eps: float
    kind: str
    ignored: tuple[str, ...]
    settings: WeightSettings | None = None


def convert_backbone(state_dict: Mapping[str, Tensor]) -> BackboneWeights:
    """The bare state dict of an ImageNet network under the names of our backbones.

    Known are torchvision's ResNet and ResNeXt, MobileNetV2 as torchvision and as the
    ``features.N.conv.M`` school name it, VoVNetV2 as timm and as its author name it, and HRNet as
    its authors and timm name it. Anything else keeps its names, less the classifier.
    """
    # Before the ResNets, whose first layers have the same names.
    if _HRNET_BRANCH in state_dict:
        return _split_hrnet(state_dict)
    if {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= state_dict.keys():
        renamed = {_rename_resnet(name): value for name, value in state_dict.items()}
        weights = _without_classifier(
            renamed, TORCH_BN_EPS, "an ImageNet ResNet (torchvision names)"
        )
        return weights._replace(settings=replace(TORCHVISION_SETTINGS, stride_in_1x1=False))
    if "features.0.0.weight" in state_dict and "features.2.conv.0.0.weight" in state_dict:
        renamed = _rename_torchvision_mobilenet(state_dict)
        weights = _split_mobilenet(
            renamed, TORCH_BN_EPS, "an ImageNet MobileNetV2 (torchvision names)"
        )
        return weights._replace(settings=TORCHVISION_SETTINGS)
    if is_timm_vovnet(state_dict):
        tensors = open_absent_gates(rename_timm_vovnet(state_dict))
        weights = _without_classifier(tensors, TORCH_BN_EPS, "an ImageNet VoVNetV2 (timm's names)")
        return weights._replace(settings=TORCHVISION_SETTINGS)
    # A body saved from a model of ours has frozen batch norms: no counters, and no epsilon.
    bn_eps = TORCH_BN_EPS if _has_counters(state_dict) else 0.0
    if {"features.0.0.weight", "features.1.conv.0.weight"} <= state_dict.keys():
        return _split_mobilenet(state_dict, bn_eps, "an ImageNet MobileNetV2")
    if is_vovnet(state_dict):
        tensors = open_absent_gates(state_dict)
        return _without_classifier(tensors, bn_eps, "an ImageNet VoVNetV2")
    return _without_classifier(state_dict, bn_eps, _UNKNOWN_KIND)


def is_known_network(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether ``convert_backbone`` knows the network by its names."""
    return convert_backbone(state_dict).kind != _UNKNOWN_KIND


def read_quantized_mobilenet(path: str | os.PathLike[str]) -> BackboneWeights:
    """The MobileNetV2 of a ``.npz`` file of 8-bit convolutions, for BGR images.

    The file holds for each convolution ``weight_u8``, ``scale``, ``zero_point`` and ``bias``, with
    weight = (weight_u8 - zero_point) * scale. Its batch norms are folded into the convolutions:
    ours get weight 1, mean 0, variance 1 and the convolution's bias. The network saw RGB images
    scaled by (x - 127.5) / 127.5; the input channels of the first convolution are turned round, so
    that it takes BGR: set INPUT.PIXEL_MEAN and INPUT.PIXEL_STD to 127.5 and TO_BGR255 to True.

    Raises:
        CheckpointError: the file is damaged or holds something else.
    """
    arrays = _read_npz(path)
    suffix = f".{_QUANTIZED_PARTS[0]}"
    convs = [name.removesuffix(suffix) for name in arrays if name.endswith(suffix)]
    absent = [f"{c}.{p}" for c in convs for p in _QUANTIZED_PARTS if f"{c}.{p}" not in arrays]
    if absent or "features.0.0" not in convs:
        raise CheckpointError(
            f"{path}: expected the arrays weight_u8, scale, zero_point and bias of each "
            f"convolution from features.0.0 on; absent: {absent or 'features.0.0'}"
        )
    state_dict: dict[str, Tensor] = {}
    for conv in convs:
        state_dict |= _dequantize(conv, arrays)
    state_dict["features.0.0.weight"] = state_dict["features.0.0.weight"].flip(1)
    renamed = _rename_torchvision_mobilenet(state_dict)
    weights = _split_mobilenet(renamed, 0.0, "an ImageNet MobileNetV2 (8-bit, batch norms folded)")
    return weights._replace(settings=_QUANTIZED_SETTINGS)


def _rename_resnet(name: str) -> str:
    return f"stem.{name}" if name.startswith(("conv1.", "bn1.")) else name


def _rename_torchvision_mobilenet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as if the (conv, norm, ReLU6) groups of a block were one flat sequence."""
    renamed = {}
    for name, value in state_dict.items():
        nested = re.fullmatch(r"(features\.\d+\.conv)\.(\d+)\.(\d+)\.(\w+)", name)
        flat = re.fullmatch(r"(features\.\d+\.conv)\.(\d+)\.(\w+)", name)
        if nested:
            block, group, index, parameter = nested.groups()
            name = f"{block}.{3 * int(group) + int(index)}.{parameter}"
        elif flat:
            block, index, parameter = flat.groups()
            num_groups = sum(f"{block}.{group}.0.weight" in state_dict for group in range(2))
            name = f"{block}.{2 * num_groups + int(index)}.{parameter}"
        renamed[name] = value
    return renamed


def _split_mobilenet(state_dict: Mapping[str, Tensor], bn_eps: float, kind: str) -> BackboneWeights:
    """The blocks that a detector uses; the last 1x1 convolution and the classifier are left out."""
    tensors, ignored = {}, []
    for name, value in state_dict.items():
        block = re.match(r"features\.(\d+)\.", name)
        if block and int(block[1]) <= _LAST_MOBILENET_BLOCK:
            tensors[name] = value
        else:
            ignored.append(name)
    return BackboneWeights(tensors, bn_eps, kind, tuple(ignored))


def _split_hrnet(state_dict: Mapping[str, Tensor]) -> BackboneWeights:
    is_classifier = any(name.startswith(_HRNET_CLASSIFIER) for name in state_dict)
    bn_eps = TORCH_BN_EPS if is_classifier or _has_counters(state_dict) else 0.0
    weights = _without_classifier(state_dict, bn_eps, "an ImageNet HRNet", _HRNET_CLASSIFIER)
    return weights._replace(settings=TORCHVISION_SETTINGS if bn_eps else None)


def _without_classifier(
    state_dict: Mapping[str, Tensor],
    bn_eps: float,
    kind: str,
    classifier: tuple[str, ...] = _CLASSIFIERS,
) -> BackboneWeights:
    ignored = tuple(name for name in state_dict if name.startswith(classifier))
    tensors = {name: value for name, value in state_dict.items() if name not in ignored}
    return BackboneWeights(tensors, bn_eps, kind, ignored)


def _has_counters(state_dict: Mapping[str, Tensor]) -> bool:
    return any(name.endswith(".num_batches_tracked") for name in state_dict)


def _read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        # Opened here, because NumPy leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path}: not a complete .npz file of plain arrays ({error})"
        ) from error


def _dequantize(conv: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    weight_u8, scale, zero_point, bias = (arrays[f"{conv}.{part}"] for part in _QUANTIZED_PARTS)
    weight = (weight_u8.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    # The norm follows its convolution in the sequence.
    sequence, index = conv.rsplit(".", 1)
    norm = f"{sequence}.{int(index) + 1}"
    channels = len(bias)
    return {
        f"{conv}.weight": torch.from_numpy(weight),
        f"{norm}.weight": torch.ones(channels),
        f"{norm}.bias": torch.from_numpy(bias.astype(np.float32)),
        f"{norm}.running_mean": torch.zeros(channels),
        f"{norm}.running_var": torch.ones(channels),
    }
