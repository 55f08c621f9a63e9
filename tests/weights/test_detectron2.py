import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetSettings
from maskrcnn_benchmark.weights.detectron2 import convert_detectron2, is_detectron2
from maskrcnn_benchmark.weights.files import read_weight_file
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.model_serialization import load_state_dict
from tests.weights.backbones import assert_same_maps, detector_of, random_images, randomize_norms

ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.bottom_up.stem.conv1.weight", "backbone.body.stem.conv1.weight"),
        ("backbone.bottom_up.stem.conv1.norm.running_var", "backbone.body.stem.bn1.running_var"),
        (
            "backbone.bottom_up.res2.0.shortcut.weight",
            "backbone.body.layer1.0.downsample.0.weight",
        ),
        (
            "backbone.bottom_up.res2.0.shortcut.norm.bias",
            "backbone.body.layer1.0.downsample.1.bias",
        ),
        ("backbone.bottom_up.res5.2.conv3.weight", "backbone.body.layer4.2.conv3.weight"),
        ("backbone.bottom_up.res4.5.conv2.norm.bias", "backbone.body.layer3.5.bn2.bias"),
        ("backbone.res3.0.conv1.weight", "backbone.body.layer2.0.conv1.weight"),
        (
            "backbone.bottom_up.stem.stem_1/conv.weight",
            "backbone.body.stem.stem_1/conv.weight",
        ),
        (
            "backbone.bottom_up.stage4.OSA4_1.concat.OSA4_1_concat/norm.bias",
            "backbone.body.stage4.OSA4_1.concat.OSA4_1_concat/norm.bias",
        ),
        ("backbone.fpn_lateral2.weight", "backbone.fpn.fpn_inner1.weight"),
        ("backbone.fpn_output5.bias", "backbone.fpn.fpn_layer4.bias"),
        ("backbone.top_block.p6.weight", "backbone.fpn.top_blocks.p6.weight"),
        ("proposal_generator.fcos_head.cls_tower.0.weight", "rpn.head.cls_tower.0.weight"),
        ("proposal_generator.fcos_head.bbox_tower.10.bias", "rpn.head.bbox_tower.10.bias"),
        ("proposal_generator.fcos_head.cls_logits.weight", "rpn.head.cls_logits.weight"),
        ("proposal_generator.fcos_head.ctrness.bias", "rpn.head.centerness.bias"),
    ],
)
def test_what_means_the_same_is_renamed(theirs: str, ours: str):
    weights = convert_detectron2({theirs: ONE})
    assert list(weights.tensors) == [ours]
    assert weights.refused == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("proposal_generator.fcos_head.bbox_pred.weight", "in units of the stride"),
        ("proposal_generator.fcos_head.scales.3.scale", "in units of the stride"),
        ("proposal_generator.fcos_head.share_tower.0.weight", "no layer of this name"),
        ("proposal_generator.rpn_head.objectness_logits.weight", "pixel convention"),
        ("head.cls_subnet.0.weight", "pixel convention"),
        ("roi_heads.box_predictor.cls_score.weight", "half-pixel.*background is the last"),
        ("roi_heads.mask_head.mask_fcn1.weight", "half-pixel"),
        ("roi_heads.maskiou_head.maskiou_fc1.weight", "half-pixel"),
        ("roi_heads.res5.0.conv1.weight", "half-pixel"),
    ],
)
def test_what_means_something_else_is_refused_with_the_reason(name: str, reason: str):
    weights = convert_detectron2({name: ONE, f"{name}_2": ONE})
    assert weights.tensors == {}
    ((text, names),) = weights.refused.items()
    assert names == (name, f"{name}_2")
    with pytest.raises(ValueError, match=reason):
        raise ValueError(text)


def test_unknown_names_stay_and_become_unexpected():
    weights = convert_detectron2({"backbone.simfp_2.weight": ONE})
    assert list(weights.tensors) == ["backbone.simfp_2.weight"]


def test_a_pyramid_with_norms_is_of_sequences():
    names = ("backbone.fpn_lateral3.weight", "backbone.fpn_lateral3.norm.weight")
    assert list(convert_detectron2(dict.fromkeys(names, ONE)).tensors) == [
        "backbone.fpn.fpn_inner2.0.weight",
        "backbone.fpn.fpn_inner2.1.weight",
    ]


def test_images_are_those_that_the_file_names_or_the_usual_ones():
    usual = WeightSettings(True, (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
    assert convert_detectron2({}).settings == usual
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    named = {"pixel_mean": mean.view(3, 1, 1), "pixel_std": std.view(3, 1, 1)}
    weights = convert_detectron2(named)
    assert weights.settings == WeightSettings(True, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert weights.tensors == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone.bottom_up.stem.conv1.weight", True),
        ("backbone.res2.0.conv1.weight", True),
        ("proposal_generator.fcos_head.ctrness.bias", True),
        ("backbone.body.stem.conv1.weight", False),
        ("layer1.0.conv1.weight", False),
    ],
)
def test_their_names_are_known(name: str, expected: bool):
    assert is_detectron2([name]) is expected


class _FrozenBatchNormWithEpsilon(FrozenBatchNorm2d):
    """As detectron2's."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def _detectron2_resnet(body: nn.Module) -> dict[str, Tensor]:
    """The tensors of a body of ours under the names of detectron2."""
    renamed = {}
    for name, value in body.state_dict().items():
        parts = name.split(".")
        layer, parameter = parts[-2], parts[-1]
        if "downsample" in parts:
            place = f"res{int(parts[0][-1]) + 1}.{parts[1]}.shortcut"
            is_norm = layer == "1"
        else:
            stage = "stem" if parts[0] == "stem" else f"res{int(parts[0][-1]) + 1}.{parts[1]}"
            place, is_norm = f"{stage}.conv{layer[-1]}", layer.startswith("bn")
        renamed[f"backbone.bottom_up.{place}.{'norm.' * is_norm}{parameter}"] = value
    return renamed


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@torch.no_grad()
def test_a_body_gives_the_same_c2_to_c5(suffix: str, tmp_path: Path):
    settings = ResNetSettings((1, 2, 1, 1), stem_channels=8, res2_channels=32, width_per_group=8)
    theirs = ResNet(
        settings=settings,
        stem_norm=_FrozenBatchNormWithEpsilon,
        block_norm=_FrozenBatchNormWithEpsilon,
    ).double()
    generator = torch.Generator().manual_seed(0)
    for name, buffer in theirs.named_buffers():
        # Some variances are as small as the epsilon, as those of dead channels are.
        low = 1e-5 if name.endswith("running_var") else -0.5
        buffer.uniform_(low, 1.0, generator=generator)
    path = tmp_path / f"model_final{suffix}"
    content = {"model": _detectron2_resnet(theirs), "iteration": 3}
    if suffix == ".pkl":
        arrays = {name: value.numpy() for name, value in content["model"].items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    else:
        torch.save(content, path)
    detector = detector_of(ResNet(settings=settings)).double()
    file = read_weight_file(path, detector.state_dict())
    assert file.kind == "of detectron2"
    assert file.entries == {}
    report = load_state_dict(detector, file.tensors, bn_eps=file.bn_eps)
    assert report.missing == () == report.unexpected
    assert set(report.outside) == {"backbone.fpn.weight", "backbone.fpn.bias"}
    assert_same_maps(detector["backbone"]["body"](random_images()), theirs(random_images()))


@pytest.mark.parametrize(("author", "is_known"), [("torchvision", True), ("me", False)])
@torch.no_grad()
def test_a_resnet_of_torchvision_that_detectron2_renamed(author, is_known, tmp_path: Path):
    """The names are those that its script convert-torchvision-to-d2.py writes."""
    torch.manual_seed(0)
    network = randomize_norms(TorchvisionResNet(Bottleneck, [1, 1, 1, 1]))
    renamed = {}
    for name, value in network.state_dict().items():
        name = name if "layer" in name else f"stem.{name}"
        name = re.sub(r"layer(\d)", lambda found: f"res{int(found[1]) + 1}", name)
        name = re.sub(r"bn(\d)", r"conv\1.norm", name)
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        renamed[name] = value.numpy()
    path = tmp_path / "R-50.pkl"
    content = {"model": renamed, "__author__": author, "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content))
    settings = ResNetSettings((1, 1, 1, 1), stride_in_1x1=False)
    detector = detector_of(ResNet(settings=settings)).double()
    file = read_weight_file(path, detector.state_dict())
    assert file.ignored == ("stem.fc.weight", "stem.fc.bias")
    rgb = WeightSettings(False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False)
    assert file.settings == (rgb if is_known else None)
    report = load_state_dict(detector, file.tensors, by_suffix=file.is_backbone, bn_eps=file.bn_eps)
    assert report.missing == () == report.unexpected
    images = random_images()
    stem = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    expected = network.layer4(network.layer3(network.layer2(network.layer1(stem))))
    assert_same_maps(detector["backbone"]["body"](images)[-1:], [expected])


def _centermask2(backbone: nn.Module) -> dict[str, Tensor]:
    """A VoVNet and its pyramid as CenterMask2 names them; its blocks but the last have no eSE."""
    theirs = {}
    for name, value in backbone.state_dict().items():
        part, _, inside = name.partition(".")
        if part == "body" and ".OSA4_1.ese." not in name:
            theirs[f"backbone.bottom_up.{inside}"] = value
        elif inside.startswith("top_blocks."):
            theirs[f"backbone.top_block.{inside.removeprefix('top_blocks.')}"] = value
        elif part == "fpn":
            role = "lateral" if "inner" in inside else "output"
            level, parameter = re.fullmatch(r"fpn_\w+(\d)\.(\w+)", inside).groups()
            theirs[f"backbone.fpn_{role}{int(level) + 1}.{parameter}"] = value
    return theirs


def test_a_vovnet_with_its_pyramid_is_taken_whole():
    cfg = get_default_config()
    cfg.merge_from_file("configs/centermask/centermask_V_39_eSE_FPN_ms_3x.yaml")
    source, target = (nn.ModuleDict({"backbone": build_backbone(cfg)}) for _ in range(2))
    weights = convert_detectron2(_centermask2(source["backbone"]))
    assert weights.refused == {}
    report = load_state_dict(target, weights.tensors, by_suffix=False)
    assert report.is_exact
    for name, value in target.state_dict().items():
        if ".OSA4_1.ese." not in name:
            torch.testing.assert_close(value, source.state_dict()[name], rtol=0, atol=0)
    assert target.state_dict()["backbone.body.stage4.OSA4_1.ese.fc.weight"].count_nonzero() == 0


def test_a_pickle_of_detectron2_runs_no_code(tmp_path: Path):
    path = tmp_path / "model_final.pkl"
    model = {"backbone.res2.0.conv1.weight": np.ones(1), "x": print}
    path.write_bytes(pickle.dumps({"model": model}))
    with pytest.raises(CheckpointError, match=r"refused.*builtins\.print"):
        read_weight_file(path, [])
