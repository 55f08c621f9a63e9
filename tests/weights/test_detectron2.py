import os
import pickle
import re
from pathlib import Path
from typing import Any

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
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
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


HEADS = {
    "proposal_generator.fcos_head.bbox_pred.weight": "rpn.head.bbox_pred.weight",
    "proposal_generator.fcos_head.scales.3.scale": "rpn.head.scales.3.scale",
    "roi_heads.mask_head.mask_fcn4.bias": "roi_heads.mask.feature_extractor.mask_fcn4.bias",
    "roi_heads.mask_head.spatialAtt.conv.weight": (
        "roi_heads.mask.feature_extractor.spatialAtt.conv.weight"
    ),
    "roi_heads.mask_head.deconv.bias": "roi_heads.mask.predictor.conv5_mask.bias",
    "roi_heads.maskiou_head.maskiou_fcn2.weight": (
        "roi_heads.maskiou.feature_extractor.maskiou_fcn2.weight"
    ),
    "roi_heads.maskiou_head.maskiou_fc1.weight": (
        "roi_heads.maskiou.feature_extractor.maskiou_fc1.weight"
    ),
}


def test_under_the_same_rules_all_of_centermask2_is_taken():
    file = convert_detectron2(dict.fromkeys(HEADS, ONE), same_rules=True)
    assert list(file.tensors) == list(HEADS.values())
    assert file.refused == {}
    assert file.settings.convention == "detectron2"


@pytest.mark.parametrize("part", ["mask_head.predictor", "maskiou_head.maskiou"])
def test_the_background_gets_a_row_in_front(part: str):
    rows = torch.arange(1.0, 7.0).reshape(3, 2)
    file = convert_detectron2({f"roi_heads.{part}.weight": rows}, same_rules=True)
    ((name, tensor),) = file.tensors.items()
    assert name.startswith("roi_heads.mask")
    assert tensor.tolist() == [[0.0, 0.0], *rows.tolist()]


def test_deformable_layers_are_of_two_layers():
    layers = {
        "stage3.OSA3_1.layers.0.OSA3_1_0/conv": ("stage3.OSA3_1.layers.0.OSA3_1_0/conv", "weight"),
        "res4.2.conv2": ("layer3.2.conv2", "weight"),
    }
    names = {}
    for theirs, (ours, weight) in layers.items():
        names[f"backbone.bottom_up.{theirs}_offset.bias"] = f"backbone.body.{ours}.offset.bias"
        names[f"backbone.bottom_up.{theirs}_offset.weight"] = f"backbone.body.{ours}.offset.weight"
        names[f"backbone.bottom_up.{theirs}.{weight}"] = f"backbone.body.{ours}.conv.{weight}"
    names["backbone.bottom_up.res4.2.conv2.norm.bias"] = "backbone.body.layer3.2.bn2.bias"
    assert list(convert_detectron2(dict.fromkeys(names, ONE)).tensors) == list(names.values())


def _theirs(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a CenterMask under the names of CenterMask2, without what it lacks."""
    named = (
        (r"backbone\.body\.(.*/conv)\.offset\.", r"backbone.bottom_up.\1_offset."),
        (r"backbone\.body\.(.*/conv)\.conv\.", r"backbone.bottom_up.\1."),
        (r"backbone\.body\.", "backbone.bottom_up."),
        (r"backbone\.fpn\.top_blocks\.", "backbone.top_block."),
        (r"rpn\.head\.centerness\.", "proposal_generator.fcos_head.ctrness."),
        (r"rpn\.head\.", "proposal_generator.fcos_head."),
        (r"roi_heads\.mask\.predictor\.conv5_mask\.", "roi_heads.mask_head.deconv."),
        (r"roi_heads\.mask\.predictor\.mask_fcn_logits\.", "roi_heads.mask_head.predictor."),
        (r"roi_heads\.mask\.feature_extractor\.", "roi_heads.mask_head."),
        (r"roi_heads\.maskiou\.(feature_extractor|predictor)\.", "roi_heads.maskiou_head."),
    )
    theirs = {}
    for name, value in model.state_dict().items():
        pattern, start = next((pair for pair in named if re.match(pair[0], name)), ("", ""))
        renamed = re.sub(pattern, start, name, count=1)
        level = re.fullmatch(r"backbone\.fpn\.fpn_(inner|layer)(\d)\.(\w+)", name)
        if level:
            role = {"inner": "lateral", "layer": "output"}[level[1]]
            renamed = f"backbone.fpn_{role}{int(level[2]) + 1}.{level[3]}"
        if name.endswith("running_var"):
            value = value - 1e-5
        theirs[renamed] = value[1:] if "mask_fcn_logits" in name or "r.maskiou." in name else value
    return theirs


def _deformable_lite(*options: object) -> Any:
    cfg = get_default_config()
    cfg.merge_from_file("configs/centermask2/centermask_lite_V_19_slim_eSE_FPN_ms_4x.yaml")
    deformable = ("MODEL.VOVNET.STAGE_WITH_DCN", (False, True, True, True))
    cfg.merge_from_list([*deformable, "MODEL.VOVNET.WITH_MODULATED_DCN", True, *options])
    return cfg


@pytest.fixture(scope="module")
def file_of_centermask2(tmp_path_factory) -> Path:
    """A model with deformable stages, as a file of CenterMask2."""
    path = tmp_path_factory.mktemp("centermask2") / "model_final.pth"
    torch.manual_seed(3)
    model = build_detection_model(_deformable_lite())
    torch.save({"model": _theirs(model), "iteration": 359999, "optimizer": {}}, path)
    return path


def test_a_whole_file_with_deformable_stages_fills_the_model(file_of_centermask2: Path):
    cfg = _deformable_lite()
    torch.manual_seed(3)
    source, model = build_detection_model(cfg), build_detection_model(cfg)
    DetectronCheckpointer(cfg, model).load(os.fspath(file_of_centermask2), strict=True)
    expected = source.state_dict()
    for name, value in model.state_dict().items():
        if "mask_fcn_logits" in name or "predictor.maskiou." in name:
            value, expected[name] = value[1:], expected[name][1:]
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)


def test_under_other_rules_it_does_not_replace_a_trained_model(file_of_centermask2: Path, caplog):
    cfg = _deformable_lite("MODEL.CONVENTION", "legacy")
    checkpointer = DetectronCheckpointer(cfg, build_detection_model(cfg))
    with pytest.raises(CheckpointError, match=r"nothing for 2\d tensors.*MODEL\.FRESH_PARTS"):
        checkpointer.load(os.fspath(file_of_centermask2))
    assert "MODEL.CONVENTION detectron2" in caplog.text
    meant = ("rpn.head", "roi_heads")
    cfg = _deformable_lite("MODEL.CONVENTION", "legacy", "MODEL.FRESH_PARTS", meant)
    checkpointer = DetectronCheckpointer(cfg, build_detection_model(cfg))
    checkpointer.load(os.fspath(file_of_centermask2))
    assert checkpointer.last_report.missing
    assert all(name.startswith(meant) for name in checkpointer.last_report.missing)


def test_a_model_of_other_stages_is_not_filled_in_silence(file_of_centermask2: Path):
    cfg = _deformable_lite("MODEL.VOVNET.STAGE_WITH_DCN", (True, True, True, True))
    checkpointer = DetectronCheckpointer(cfg, build_detection_model(cfg))
    with pytest.raises(CheckpointError, match=r"nothing for 9 tensors.*backbone\.body"):
        checkpointer.load(os.fspath(file_of_centermask2))


@pytest.mark.parametrize(("heads_of", "eps"), [("detectron2", 1e-5), ("", 0.0)])
def test_frozen_norms_of_a_bare_body_have_the_epsilon_of_the_rules(heads_of, eps, tmp_path: Path):
    path = tmp_path / "vovnet39_ese_detectron2.pth"
    torch.save({"stem.stem_1/conv.weight": ONE, "stem.stem_1/norm.running_var": ONE}, path)
    file = read_weight_file(path, [], heads_of=heads_of)
    assert file.is_backbone
    assert file.bn_eps == eps


def test_layers_that_no_head_here_has_are_refused_as_such():
    names = ("roi_heads.res5.0.conv1.weight", "roi_heads.box_head.0.fc1.weight")
    anchors = "proposal_generator.anchor_generator.cell_anchors.0"
    state_dict = {name: torch.ones(1) for name in (*names, anchors)}
    file = convert_detectron2(state_dict, same_rules=True)
    ((reason, refused),) = file.refused.items()
    assert refused == names
    assert "no layer" in reason
    assert file.ignored == (anchors,)
    assert file.tensors == {}
