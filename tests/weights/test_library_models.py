"""From ``catalog://`` to feature maps: those of the library's own network on its own input."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode, get_default_config
from maskrcnn_benchmark.data.transforms import Normalize
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.sources import make_settings_match_weights
from tests.contract.source_tree import ROOT
from tests.weights.backbones import assert_same_maps, randomize_norms
from tests.weights.library_caches import fill_timm, fill_torchvision

CONFIGS = ROOT / "configs"
RESNEXT_64X4D = (
    *("MODEL.RESNETS.NUM_GROUPS", 64, "MODEL.RESNETS.WIDTH_PER_GROUP", 4),
    *("MODEL.BACKBONE.CONV_BODY", "R-101-FPN-RETINANET"),
)
R_152 = ("MODEL.BACKBONE.CONV_BODY", "R-152-FPN")
Stages = Callable[[nn.Module, Tensor], list[Tensor]]


def _resnet_stages(network: nn.Module, x: Tensor) -> list[Tensor]:
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    maps = []
    for number in range(1, 5):
        x = getattr(network, f"layer{number}")(x)
        maps.append(x)
    return maps


def _mobilenet_stages(network: nn.Module, x: Tensor) -> list[Tensor]:
    maps = []
    for index, block in enumerate(network.features[:18]):
        x = block(x)
        if index in (3, 6, 13, 17):
            maps.append(x)
    return maps


def _vovnet_stages(network: nn.Module, x: Tensor) -> list[Tensor]:
    x = network.stem(x)
    maps = []
    for stage in network.stages:
        x = stage(x)
        maps.append(x)
    return maps


def _fitting_config(file: str, weight: str, *options: object) -> CfgNode:
    cfg = get_default_config()
    cfg.merge_from_file(CONFIGS / file)
    cfg.merge_from_list(["MODEL.WEIGHT", weight, "MODEL.DEVICE", "cpu", *options])
    assert make_settings_match_weights(cfg)
    return cfg


@torch.no_grad()
def _assert_the_detector_sees_what_the_network_saw(
    cfg: CfgNode, network: nn.Module, stages: Stages, mean: object, std: object
) -> None:
    detector = nn.ModuleDict({"backbone": build_backbone(cfg)}).double().eval()
    checkpointer = DetectronCheckpointer(cfg, detector)
    checkpointer.load(cfg.MODEL.WEIGHT)
    assert checkpointer.last_report.missing == () == checkpointer.last_report.unexpected
    rgb = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(1)).double()
    normalize = Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD, cfg.INPUT.TO_BGR255)
    ours = detector["backbone"].body(normalize(rgb)[0][None])
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    theirs = stages(network, ((rgb - mean[:, None, None]) / std[:, None, None])[None])
    assert_same_maps(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "options", "stages"),
    [
        ("resnet50", "centermask/centermask_R_50_FPN_1x.yaml", (), _resnet_stages),
        ("resnet101.IMAGENET1K_V2", "centermask/centermask_R_101_FPN_1x.yaml", (), _resnet_stages),
        ("resnet152", "e2e_mask_rcnn_R_101_FPN_1x.yaml", R_152, _resnet_stages),
        ("resnext101_32x8d", "centermask/centermask_X_101_FPN_1x.yaml", (), _resnet_stages),
        (
            "resnext101_64x4d",
            "centermask/centermask_X_101_FPN_1x.yaml",
            RESNEXT_64X4D,
            _resnet_stages,
        ),
        ("mobilenet_v2", "centermask/centermask_M_v2_FPN_1x.yaml", (), _mobilenet_stages),
    ],
)
def test_torchvision(name, file, options, stages, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model, _, version = name.partition(".")
    version = version or "IMAGENET1K_V1"
    torch.manual_seed(0)
    network = randomize_norms(torchvision.models.get_model(model, weights=None))
    fill_torchvision(tmp_path, model, version, network.state_dict())
    cfg = _fitting_config(file, f"catalog://torchvision/{name}", *options)
    images = torchvision.models.get_model_weights(model)[version].transforms()
    _assert_the_detector_sees_what_the_network_saw(cfg, network, stages, images.mean, images.std)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "options"),
    [
        ("ese_vovnet39b.ra_in1k", "centermask/centermask_V_39_eSE_FPN_ms_3x.yaml", ()),
        (
            "ese_vovnet19b_dw.ra_in1k",
            "centermask/centermask_V_19_dw_eSE_FPN_lite_res600_ms_bs16_4x.yaml",
            (),
        ),
    ],
)
def test_timm(name: str, file: str, options, tmp_path: Path, monkeypatch):
    import timm

    torch.manual_seed(0)
    network = randomize_norms(timm.create_model(name.partition(".")[0]))
    fill_timm(tmp_path, name, network.float().state_dict(), monkeypatch)
    cfg = _fitting_config(file, f"catalog://timm/{name}", *options)
    images = timm.get_pretrained_cfg(name)
    _assert_the_detector_sees_what_the_network_saw(
        cfg, network.double(), _vovnet_stages, images.mean, images.std
    )
