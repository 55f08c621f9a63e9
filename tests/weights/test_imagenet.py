from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from maskrcnn_benchmark.config.paths_catalog import ModelCatalog
from maskrcnn_benchmark.modeling.backbone.hrnet import HRNet
from maskrcnn_benchmark.modeling.backbone.mobilenet import MobileNetV2
from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetSettings
from maskrcnn_benchmark.weights.imagenet import (
    TORCH_BN_EPS,
    TORCHVISION_SETTINGS,
    convert_backbone,
    read_quantized_mobilenet,
)
from maskrcnn_benchmark.weights.load_report import CheckpointError, LoadReport, WeightFile
from maskrcnn_benchmark.weights.model_serialization import load_state_dict
from tests.weights.backbones import assert_same_maps, detector_of, random_images, randomize_norms

QUICKSTART = Path(ModelCatalog.get("quickstart/mobilenet_v2"))


BLOCKS = (1, 2, 1, 1)


def _resnet() -> nn.Module:
    """Our ResNet, shallow and with the strides where torchvision has them."""
    return ResNet(settings=ResNetSettings(BLOCKS, stride_in_1x1=False))


def _fill(detector: nn.Module, weights: WeightFile) -> LoadReport:
    return load_state_dict(detector, weights.tensors, by_suffix=True, bn_eps=weights.bn_eps)


def _assert_body_is_filled(report: LoadReport) -> None:
    assert report.missing == () == report.unexpected
    assert all(name.startswith("backbone.body.") for name in report.loaded)
    assert all(name.startswith("backbone.fpn.") for name in report.outside)


@torch.no_grad()
def test_a_torchvision_resnet_gives_the_same_c5():
    torch.manual_seed(0)
    bottleneck = torchvision.models.resnet.Bottleneck
    theirs = randomize_norms(torchvision.models.ResNet(bottleneck, list(BLOCKS), num_classes=5))
    detector = detector_of(_resnet()).double()
    weights = convert_backbone(theirs.state_dict())
    report = _fill(detector, weights)
    _assert_body_is_filled(report)
    assert weights.ignored == ("fc.weight", "fc.bias")
    stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(random_images()))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(stem))))
    assert_same_maps(detector["backbone"]["body"](random_images())[-1:], [expected])


def _torchvision_mobilenet() -> nn.Module:
    torch.manual_seed(0)
    return randomize_norms(torchvision.models.mobilenet_v2(weights=None, num_classes=5))


def _flat_names(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as other published files name them: conv, norm, ReLU6 counted through."""
    counters: dict[str, int] = {}
    renamed = {}
    for name, value in state_dict.items():
        parts = name.split(".")
        if parts[2] == "conv":
            prefix, owner = ".".join(parts[:3]), ".".join(parts[:-1])
            slots = [n for n in counters if n.startswith(prefix + ".")]
            # Slots follow each other in pairs (conv, norm), with a ReLU6 after each pair.
            counters.setdefault(owner, len(slots) // 2 * 3 + len(slots) % 2)
            name = f"{prefix}.{counters[owner]}.{parts[-1]}"
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("rename", [dict, _flat_names], ids=["torchvision", "flat"])
@torch.no_grad()
def test_a_mobilenet_gives_the_same_c2_to_c5(rename):
    theirs = _torchvision_mobilenet()
    state_dict = rename(theirs.state_dict())
    detector = detector_of(MobileNetV2()).double()
    weights = convert_backbone(state_dict)
    _assert_body_is_filled(_fill(detector, weights))
    assert {name.split(".")[0] for name in weights.ignored} == {"features", "classifier"}
    assert all(n.startswith(("features.18.", "classifier.")) for n in weights.ignored)
    expected, x = [], random_images()
    for index, block in enumerate(theirs.features[:18]):
        x = block(x)
        if index in (3, 6, 13, 17):
            expected.append(x)
    assert_same_maps(detector["backbone"]["body"](random_images()), expected)


@pytest.mark.slow
@pytest.mark.parametrize("width", [18, 48])
@torch.no_grad()
def test_an_hrnet_of_timm_gives_the_same_four_maps(width: int):
    import timm

    torch.manual_seed(0)
    theirs = randomize_norms(timm.create_model(f"hrnet_w{width}"))
    detector = detector_of(HRNet(width=width)).double()
    weights = convert_backbone(theirs.state_dict())
    assert weights.kind == "an ImageNet HRNet"
    assert weights.settings == TORCHVISION_SETTINGS
    _assert_body_is_filled(_fill(detector, weights))
    assert {name.split(".")[0] for name in weights.ignored} == {
        "incre_modules", "downsamp_modules", "final_layer", "classifier",
    }  # fmt: skip
    images = random_images()
    stem = theirs.act2(theirs.bn2(theirs.conv2(theirs.act1(theirs.bn1(theirs.conv1(images))))))
    assert_same_maps(detector["backbone"]["body"](images), theirs.stages(stem))


def test_flat_names_are_those_of_our_body():
    ours = {n.removeprefix("backbone.body.") for n in detector_of(MobileNetV2()).state_dict()}
    flat = _flat_names(_torchvision_mobilenet().state_dict())
    assert {n for n in ours if n.startswith("features.")} <= flat.keys()


def test_without_the_epsilon_of_training_dead_channels_explode():
    # UPSTREAM(trained-epsilon): the original loaded the variances as they are.
    theirs = _torchvision_mobilenet()
    weights = convert_backbone(theirs.state_dict())
    assert weights.bn_eps == TORCH_BN_EPS
    detector = detector_of(MobileNetV2()).double()
    _fill(detector, weights)
    name = "features.0.1.running_var"
    torch.testing.assert_close(
        detector.state_dict()[f"backbone.body.{name}"], theirs.state_dict()[name] + 1e-5
    )


def test_old_files_without_counters_get_the_epsilon_too():
    names = ("conv1.weight", "bn1.weight", "bn1.running_var", "layer1.0.conv1.weight")
    assert convert_backbone({name: torch.ones(1) for name in names}).bn_eps == TORCH_BN_EPS


@pytest.mark.parametrize("make_body", [_resnet, MobileNetV2, partial(HRNet, width=18)])
def test_a_body_saved_from_our_model_comes_back_unchanged(make_body):
    source, target = make_body(), make_body()
    weights = convert_backbone(source.state_dict())
    assert weights.bn_eps == 0
    assert weights.ignored == ()
    _assert_body_is_filled(_fill(detector_of(target), weights))
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def test_an_unknown_network_keeps_its_names_but_its_classifier():
    state_dict = {
        "stage2.OSA2_1/conv.weight": torch.ones(1),
        "stage2.OSA2_1/norm.num_batches_tracked": torch.tensor(3),
        "classifier.weight": torch.ones(1),
    }
    weights = convert_backbone(state_dict)
    assert list(weights.tensors) == list(state_dict)[:2]
    assert weights.ignored == ("classifier.weight",)
    assert weights.bn_eps == TORCH_BN_EPS


def test_the_bundled_mobilenet_fills_the_body():
    weights = read_quantized_mobilenet(QUICKSTART)
    detector = detector_of(MobileNetV2())
    _assert_body_is_filled(_fill(detector, weights))
    state = detector.state_dict()
    with np.load(QUICKSTART) as arrays:
        for conv, ours in (
            ("features.1.conv.0.0", "features.1.conv.0"),
            ("features.1.conv.1", "features.1.conv.3"),
            ("features.17.conv.1.0", "features.17.conv.3"),
            ("features.17.conv.2", "features.17.conv.6"),
        ):
            weight = arrays[f"{conv}.weight_u8"].astype(np.int64) - arrays[f"{conv}.zero_point"]
            expected = torch.from_numpy(weight * np.float64(arrays[f"{conv}.scale"])).float()
            torch.testing.assert_close(state[f"backbone.body.{ours}.weight"], expected)
            block, index = ours.rsplit(".", 1)
            norm = f"backbone.body.{block}.{int(index) + 1}"
            torch.testing.assert_close(
                state[f"{norm}.bias"], torch.from_numpy(arrays[f"{conv}.bias"])
            )
            assert torch.all(state[f"{norm}.weight"] == 1)
            assert torch.all(state[f"{norm}.running_mean"] == 0)
            assert torch.all(state[f"{norm}.running_var"] == 1)


def test_the_bundled_mobilenet_takes_bgr():
    weight = read_quantized_mobilenet(QUICKSTART).tensors["features.0.0.weight"]
    with np.load(QUICKSTART) as arrays:
        rgb = arrays["features.0.0.weight_u8"].astype(np.float32)
        rgb -= arrays["features.0.0.zero_point"]
        scale = arrays["features.0.0.scale"]
    torch.testing.assert_close(weight[:, 0], torch.from_numpy(rgb[:, 2] * scale))
    torch.testing.assert_close(weight[:, 2], torch.from_numpy(rgb[:, 0] * scale))


@torch.no_grad()
def test_the_bundled_mobilenet_keeps_a_healthy_scale_on_a_photo():
    """Folded weights that were mixed up would let activations die or explode over 52 layers."""
    detector = detector_of(MobileNetV2())
    _fill(detector, read_quantized_mobilenet(QUICKSTART))
    photo = sorted((QUICKSTART.parent / "train").glob("*.jpg"))[0]
    rgb = np.asarray(Image.open(photo).convert("RGB").crop((0, 0, 256, 256)), np.float32)
    bgr = torch.from_numpy(rgb[..., ::-1].copy()).permute(2, 0, 1)[None]
    for feature in detector["backbone"]["body"]((bgr - 127.5) / 127.5):
        assert 0.05 < feature.std() < 10
        assert feature.abs().max() < 100


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "absent: features.0.0"),
        ({"features.0.0.weight_u8": np.zeros((1, 3, 3, 3), np.uint8)}, r"features\.0\.0\.scale"),
        ({"features.0.0.weight_u8": np.array([None])}, "plain arrays"),
    ],
)
def test_another_npz_is_refused(arrays, message: str, tmp_path: Path):
    path = tmp_path / "other.npz"
    np.savez(path, **arrays)
    with pytest.raises(CheckpointError, match=message):
        read_quantized_mobilenet(path)


def test_a_truncated_npz_is_named(tmp_path: Path):
    path = tmp_path / "cut.npz"
    path.write_bytes(QUICKSTART.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"cut\.npz"):
        read_quantized_mobilenet(path)
