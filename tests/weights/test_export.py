"""Bodies of ours in the libraries' own networks: the same features, and back without a loss."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone.hrnet import HRNet
from maskrcnn_benchmark.modeling.backbone.mobilenet import MobileNetV2
from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetSettings
from maskrcnn_benchmark.modeling.backbone.vovnet import VOVNETS, VoVNet
from maskrcnn_benchmark.weights.export import export_body
from maskrcnn_benchmark.weights.imagenet import convert_backbone
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.model_serialization import load_state_dict
from tests.weights.backbones import assert_same_maps, detector_of, random_images, randomize_norms

SETTINGS = WeightSettings(True, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0))
IN_3X3 = WeightSettings(True, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0), stride_in_1x1=False)
SMALL = ResNetSettings((1, 1, 1, 1), stride_in_1x1=False)


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def _small_resnet() -> nn.Module:
    return TorchvisionResNet(Bottleneck, [1, 1, 1, 1])


def _last_of_resnet(network: nn.Module, images: Tensor) -> Tensor:
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    return network.layer4(network.layer3(network.layer2(network.layer1(x))))


def _last_of_mobilenet(network: nn.Module, images: Tensor) -> Tensor:
    return network.features[:18](images)


def _last_of_vovnet(network: nn.Module, images: Tensor) -> Tensor:
    return network.stages(network.stem(images))


def _last_of_hrnet(network: nn.Module, images: Tensor) -> Tensor:
    x = network.act1(network.bn1(network.conv1(images)))
    x = network.act2(network.bn2(network.conv2(x)))
    return network.stages(x)[-1]


def _randomize(body: nn.Module) -> nn.Module:
    """The body in double precision; some variances are as small as those of dead channels."""
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in body.modules() if isinstance(m, FrozenBatchNorm2d)):
        for values, low, high in (
            *((norm.weight, 0.5, 1.0), (norm.bias, -0.2, 0.2)),
            *((norm.running_mean, -0.2, 0.2), (norm.running_var, 2e-5, 1.0)),
        ):
            values.data.uniform_(low, high, generator=generator)
    return body.eval().double()


@pytest.mark.parametrize(
    ("make_body", "make_network", "last_map", "settings"),
    [
        (lambda: ResNet(settings=SMALL), _small_resnet, _last_of_resnet, IN_3X3),
        (MobileNetV2, torchvision.models.mobilenet_v2, _last_of_mobilenet, SETTINGS),
        (
            lambda: VoVNet(spec=VOVNETS["V-19-dw-eSE"]),
            lambda: _timm("ese_vovnet19b_dw"),
            _last_of_vovnet,
            SETTINGS,
        ),
        pytest.param(
            lambda: HRNet(width=18),
            lambda: _timm("hrnet_w18"),
            _last_of_hrnet,
            SETTINGS,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ResNet", "MobileNetV2", "VoVNetV2", "HRNet"],
)
@torch.no_grad()
def test_the_network_computes_what_the_body_computes(
    make_body: Callable[[], nn.Module],
    make_network: Callable[[], nn.Module],
    last_map: Callable[[nn.Module, Tensor], Tensor],
    settings: WeightSettings,
):
    torch.manual_seed(0)
    body, network = _randomize(make_body()), make_network().eval().double()
    exported = export_body(body.state_dict(), settings, network.state_dict())
    absent, unknown = network.load_state_dict(exported, strict=False)
    assert unknown == []
    assert absent
    assert all(name.startswith(("fc", "classifier", "head", "features.18", "incre_modules",
                                "downsamp_modules", "final_layer")) for name in absent)  # fmt: skip
    assert_same_maps([body(random_images())[-1]], [last_map(network, random_images())])
    back = detector_of(_randomize(make_body()))
    weights = convert_backbone(exported)
    report = load_state_dict(back, weights.tensors, by_suffix=True, bn_eps=weights.bn_eps)
    assert report.missing == () == report.unexpected
    for name, value in back["backbone"]["body"].state_dict().items():
        torch.testing.assert_close(value, body.state_dict()[name], rtol=1e-12, atol=1e-15)


def test_what_comes_from_a_library_goes_back_as_it_was():
    torch.manual_seed(0)
    network = randomize_norms(_timm("ese_vovnet39b")).float()
    body = VoVNet(spec=VOVNETS["V-39-eSE"])
    weights = convert_backbone(network.state_dict())
    load_state_dict(detector_of(body), weights.tensors, by_suffix=True, bn_eps=weights.bn_eps)
    exported = export_body(body.state_dict(), SETTINGS, _timm("ese_vovnet39b").state_dict())
    theirs = network.state_dict()
    assert set(theirs) - set(exported) == {"head.fc.weight", "head.fc.bias"}
    for name, value in exported.items():
        # Taking the epsilon in and out rounds the variances.
        atol = 1e-7 if name.endswith("running_var") else 0
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=atol)


def test_live_norms_carry_no_epsilon():
    torch.manual_seed(0)
    body = VoVNet(spec=VOVNETS["V-19-dw-eSE"], norm=nn.BatchNorm2d)
    network = _timm("ese_vovnet19b_dw").state_dict()
    exported = export_body(body.state_dict(), SETTINGS, network)
    assert torch.equal(exported["stem.0.bn.running_var"], torch.ones(64))


def test_trained_gates_have_no_place_in_timm():
    """timm ends only the last block of a stage in eSE."""
    torch.manual_seed(0)
    body = VoVNet(spec=VOVNETS["V-39-eSE"]).state_dict()
    network = _timm("ese_vovnet39b").state_dict()
    with pytest.raises(CheckpointError, match=r"stage4\.OSA4_1\.ese\.fc\.weight"):
        export_body(body, SETTINGS, network)


def test_strides_elsewhere_are_other_features():
    body = ResNet(settings=SMALL).state_dict()
    settings = WeightSettings(True, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0), stride_in_1x1=True)
    with pytest.raises(CheckpointError, match="STRIDE_IN_1X1 True"):
        export_body(body, settings, _small_resnet().state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.pop("layer4.0.bn1.bias"), "the body has no layer4.0.bn1.bias"),
        (
            lambda b: b.update({"layer4.0.conv2.offset.weight": torch.ones(1)}),
            r"the network has no place for layer4\.0\.conv2\.offset\.weight",
        ),
        (
            lambda b: b.update({"layer4.0.conv1.weight": torch.ones(1)}),
            r"other shapes in layer4\.0\.conv1\.weight",
        ),
    ],
)
def test_another_network_is_refused_with_the_difference(change, message: str):
    body = dict(ResNet(settings=SMALL).state_dict())
    change(body)
    with pytest.raises(CheckpointError, match=message):
        export_body(body, IN_3X3, _small_resnet().state_dict())


def test_the_body_keeps_its_tensors():
    body = ResNet(settings=SMALL).state_dict()
    exported = export_body(body, IN_3X3, _small_resnet().state_dict())
    exported["conv1.weight"].zero_()
    assert body["stem.conv1.weight"].count_nonzero() > 0
