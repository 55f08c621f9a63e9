"""ImageNet weights of VoVNetV2 under the names of our backbone, which are those of its author."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# eSE multiplies channels by relu6(x + 3) / 6, which is 1 from x = 3 on. A hair below that it is 1
# within rounding and still has a gradient.
_OPEN_GATE_BIAS = 3.0 - 1e-6

_TIMM_LAYER = re.compile(
    r"(?:stem\.(?P<stem>\d)|stages\.(?P<stage>\d)\.blocks\.(?P<block>\d+)\."
    r"(?:conv_mid\.(?P<index>\d+)|conv_(?P<role>concat|reduction)))"
    r"\.(?P<part>conv|bn|conv_dw|conv_pw)\.(?P<parameter>\w+)"
)
_TIMM_GATE = re.compile(r"stages\.(\d)\.blocks\.(\d+)\.attn\.fc\.(weight|bias)")
_PARTS = {"conv": "conv", "bn": "norm", "conv_dw": "dw_conv3x3", "conv_pw": "pw_conv1x1"}
_CONCAT = re.compile(r"(stage\d\.OSA\d_\d+)\.concat\.OSA\d_\d+_concat/conv\.weight")


def rename_timm_vovnet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names inside our body; names of no layer of a body stay."""
    return {_rename(name, state_dict): value for name, value in state_dict.items()}


def open_absent_gates(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a VoVNetV2 body, with an eSE for every block, also where the network had none.

    timm's networks end only the last block of a stage in eSE; here every block has one. Those that
    are added let everything through: they change no feature, and can be trained. Without any eSE
    (VoVNetV1) nothing is added.
    """
    tensors = dict(state_dict)
    if not any(name.endswith(".ese.fc.weight") for name in tensors):
        return tensors
    for name, weight in state_dict.items():
        concat = _CONCAT.fullmatch(name)
        if concat and f"{concat[1]}.ese.fc.weight" not in tensors:
            gate = f"{concat[1]}.ese.fc"
            channels = len(weight)
            tensors[f"{gate}.weight"] = weight.new_zeros(channels, channels, 1, 1)
            tensors[f"{gate}.bias"] = torch.full_like(weight[:, 0, 0, 0], _OPEN_GATE_BIAS)
    return tensors


def _rename(name: str, state_dict: Mapping[str, Tensor]) -> str:
    gate = _TIMM_GATE.fullmatch(name)
    if gate:
        stage, block, parameter = gate.groups()
        return f"{_block(stage, block)}.ese.fc.{parameter}"
    layer = _TIMM_LAYER.fullmatch(name)
    if layer is None:
        return name
    prefix = name[: layer.start("part")]
    is_depthwise = f"{prefix}conv_dw.weight" in state_dict
    part = "pw_norm" if is_depthwise and layer["part"] == "bn" else _PARTS[layer["part"]]
    return f"{_place(layer)}/{part}.{layer['parameter']}"


def _place(layer: re.Match[str]) -> str:
    if layer["stem"]:
        return f"stem.stem_{int(layer['stem']) + 1}"
    block = _block(layer["stage"], layer["block"])
    title = block.rpartition(".")[2]
    if layer["role"] == "concat":
        return f"{block}.concat.{title}_concat"
    if layer["role"] == "reduction":
        return f"{block}.conv_reduction.{title}_reduction_0"
    return f"{block}.layers.{layer['index']}.{title}_{layer['index']}"


def _block(stage: str, block: str) -> str:
    """Name of an OSA block: stages count from 2, the paper's first being the stem."""
    number = int(stage) + 2
    return f"stage{number}.OSA{number}_{int(block) + 1}"
