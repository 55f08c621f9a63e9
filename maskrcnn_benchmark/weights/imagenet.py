"""Weights of image classifiers, renamed to the names that our backbones give their tensors.

The renamed tensors carry the names inside a backbone's body (``layer1.0.conv1.weight``), which are
the ends of a detector's names (``backbone.body.layer1.0.conv1.weight``).
"""

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights.load_report import CheckpointError, WeightFile
from maskrcnn_benchmark.weights.vovnet import open_absent_gates, rename_timm_vovnet
from maskrcnn_benchmark.weights.yolact import rename_darknet

# The epsilon of torch's batch norms, with which all these classifiers were trained.
# UPSTREAM(trained-epsilon): the original loaded trained variances as they are into frozen batch
# norms, which have no epsilon. Here that of training goes along, as the classifier computes.
TORCH_BN_EPS = 1e-5
# What torchvision and timm train most of their networks with.
TORCHVISION_SETTINGS = WeightSettings(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RESNET_SETTINGS = replace(TORCHVISION_SETTINGS, stride_in_1x1=False)
_QUANTIZED_SETTINGS = WeightSettings(True, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
# Names that no detector needs; of MobileNetV2 it needs the blocks 0 to 17 alone.
_CLASSIFIER = re.compile(r"(fc|classifier|head|last_linear)\.")
_HRNET_CLASSIFIER = re.compile(
    rf"(incre_modules|downsamp_modules|final_layer)\.|{_CLASSIFIER.pattern}"
)
_MOBILENET_REST = re.compile(r"(?!features\.(\d|1[0-7])\.)")
_HRNET_BRANCH = "stage2.0.branches.0.0.conv1.weight"
_UNKNOWN_KIND = "a bare backbone"
_QUANTIZED_PARTS = ("weight_u8", "scale", "zero_point", "bias")


def convert_backbone(state_dict: Mapping[str, Tensor], *, frozen_eps: float = 0.0) -> WeightFile:
    """The bare state dict of an ImageNet network under the names of our backbones.

    Known are torchvision's ResNet and ResNeXt, MobileNetV2 as torchvision and as the
    ``features.N.conv.M`` school name it, VoVNetV2 as timm and as its author name it, HRNet as its
    authors and timm name it, and DarkNet as YOLACT's authors do. Anything else keeps its names,
    less the classifier.

    Args:
        state_dict: of the network.
        frozen_eps: epsilon of norms that are frozen in the file, of detectron2's 1e-5, of ours 0.
    """
    names = state_dict.keys()
    # A body saved from a detector has frozen batch norms, which count nothing.
    has_counters = any(name.endswith(".num_batches_tracked") for name in names)
    bn_eps = TORCH_BN_EPS if has_counters else frozen_eps
    if "_preconv.0.weight" in names:
        renamed = {rename_darknet(name): value for name, value in state_dict.items()}
        return _body(renamed, "an ImageNet DarkNet (YOLACT's names)", TORCH_BN_EPS)
    # Before the ResNets, whose first layers have the same names.
    if _HRNET_BRANCH in names:
        is_trained = has_counters or any(map(_HRNET_CLASSIFIER.match, names))
        bn_eps = TORCH_BN_EPS if is_trained else frozen_eps
        settings = TORCHVISION_SETTINGS if is_trained else None
        return _body(state_dict, "an ImageNet HRNet", bn_eps, settings, _HRNET_CLASSIFIER)
    if {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= names:
        renamed = {_rename_resnet(name): value for name, value in state_dict.items()}
        kind = "an ImageNet ResNet (torchvision names)"
        return _body(renamed, kind, TORCH_BN_EPS, RESNET_SETTINGS)
    if {"features.0.0.weight", "features.2.conv.0.0.weight"} <= names:
        renamed = _rename_torchvision_mobilenet(state_dict)
        kind = "an ImageNet MobileNetV2 (torchvision names)"
        return _body(renamed, kind, TORCH_BN_EPS, TORCHVISION_SETTINGS, _MOBILENET_REST)
    if {"stem.0.conv.weight", "stages.0.blocks.0.conv_concat.conv.weight"} <= names:
        renamed = open_absent_gates(rename_timm_vovnet(state_dict))
        kind = "an ImageNet VoVNetV2 (timm's names)"
        return _body(renamed, kind, TORCH_BN_EPS, TORCHVISION_SETTINGS)
    if {"features.0.0.weight", "features.1.conv.0.weight"} <= names:
        kind = "an ImageNet MobileNetV2"
        return _body(state_dict, kind, bn_eps, unneeded=_MOBILENET_REST)
    if "stem.stem_1/conv.weight" in names:
        return _body(open_absent_gates(state_dict), "an ImageNet VoVNetV2", bn_eps)
    return _body(state_dict, _UNKNOWN_KIND, bn_eps)


def is_known_network(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether ``convert_backbone`` knows the network by its names."""
    return convert_backbone(state_dict).kind != _UNKNOWN_KIND


def read_quantized_mobilenet(path: str | os.PathLike[str]) -> WeightFile:
    """The MobileNetV2 of a ``.npz`` file of 8-bit convolutions, for BGR images.

    The file holds for each convolution ``weight_u8``, ``scale``, ``zero_point`` and ``bias``, with
    weight = (weight_u8 - zero_point) * scale. Its batch norms are folded into the convolutions:
    ours get weight 1, mean 0, variance 1 and the convolution's bias. The network saw RGB images
    scaled by (x - 127.5) / 127.5; the input channels of the first convolution are turned round, so
    that it takes BGR: set INPUT.PIXEL_MEAN and INPUT.PIXEL_STD to 127.5 and TO_BGR255 to True.

    Raises:
        CheckpointError: the file is damaged or holds something else.
    """
    arrays = read_npz(path)
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
    kind = "an ImageNet MobileNetV2 (8-bit, batch norms folded)"
    return _body(renamed, kind, 0.0, _QUANTIZED_SETTINGS, _MOBILENET_REST)


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


def _body(
    state_dict: Mapping[str, Tensor],
    kind: str,
    bn_eps: float,
    settings: WeightSettings | None = None,
    unneeded: re.Pattern[str] = _CLASSIFIER,
) -> WeightFile:
    ignored = tuple(filter(unneeded.match, state_dict))
    tensors = {name: value for name, value in state_dict.items() if name not in ignored}
    return WeightFile(tensors, kind, True, bn_eps, ignored, settings=settings)


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file by name.

    Raises:
        CheckpointError: the file is damaged, or has other objects in it.
    """
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
