import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.backbone.vovnet import VOVNETS, DeformableSettings, VoVNet
from maskrcnn_benchmark.weights.imagenet import TORCHVISION_SETTINGS, convert_backbone
from maskrcnn_benchmark.weights.load_report import LoadReport
from maskrcnn_benchmark.weights.model_serialization import load_state_dict
from maskrcnn_benchmark.weights.vovnet import open_absent_gates
from tests.weights.backbones import assert_same_maps, detector_of, random_images, randomize_norms


def _load(body: nn.Module, state_dict: dict[str, Tensor]) -> LoadReport:
    weights = convert_backbone(state_dict)
    report = load_state_dict(
        detector_of(body), weights.tensors, by_suffix=True, bn_eps=weights.bn_eps
    )
    assert report.unexpected == ()
    return report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("ese_vovnet19b_dw", "V-19-dw-eSE"),
        ("ese_vovnet19b_slim_dw", "V-19-slim-dw-eSE"),
        ("ese_vovnet19b_slim", "V-19-slim-eSE"),
        ("ese_vovnet39b", "V-39-eSE"),
        ("ese_vovnet57b", "V-57-eSE"),
        ("ese_vovnet99b", "V-99-eSE"),
    ],
)
@torch.no_grad()
def test_timms_networks_give_the_same_c2_to_c5(theirs: str, ours: str):
    import timm

    torch.manual_seed(0)
    network = randomize_norms(timm.create_model(theirs))
    images = random_images()
    expected, x = [], network.stem(images)
    for stage in network.stages:
        x = stage(x)
        expected.append(x)
    body = VoVNet(spec=VOVNETS[ours]).double()
    weights = convert_backbone(network.state_dict())
    assert weights.settings == TORCHVISION_SETTINGS
    assert weights.ignored == ("head.fc.weight", "head.fc.bias")
    assert _load(body, network.state_dict()).missing == ()
    assert_same_maps(body(images), expected)


@pytest.mark.parametrize("has_head", [True, False])
def test_the_authors_files_have_our_names(has_head: bool):
    source, target = (VoVNet(spec=VOVNETS["V-19-eSE"], norm=nn.BatchNorm2d) for _ in range(2))
    head = {"classifier.weight": torch.ones(1), "classifier.bias": torch.ones(1)}
    state_dict = {**source.state_dict(), **(head if has_head else {})}
    weights = convert_backbone(state_dict)
    assert weights.kind == "an ImageNet VoVNetV2"
    assert weights.bn_eps == 1e-5
    assert weights.ignored == tuple(head)[: 2 * has_head]
    assert _load(target, state_dict).missing == ()
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def _block(number: int, has_gate: bool) -> dict[str, Tensor]:
    block = f"stage4.OSA4_{number}"
    tensors = {f"{block}.concat.OSA4_{number}_concat/conv.weight": torch.ones(3, 5, 1, 1)}
    if has_gate:
        tensors |= {f"{block}.ese.fc.weight": torch.ones(3, 3, 1, 1)}
    return tensors


def test_an_absent_gate_lets_everything_through_and_can_be_trained():
    tensors = open_absent_gates(_block(1, has_gate=False) | _block(2, has_gate=True))
    weight, bias = (tensors[f"stage4.OSA4_1.ese.fc.{part}"] for part in ("weight", "bias"))
    assert weight.shape == (3, 3, 1, 1)
    assert weight.count_nonzero() == 0
    bias.requires_grad_()
    gate = nn.functional.relu6(bias + 3) / 6
    torch.testing.assert_close(gate, torch.ones(3), rtol=0, atol=2e-7)
    gate.sum().backward()
    assert torch.all(bias.grad > 0)
    assert tensors["stage4.OSA4_2.ese.fc.weight"].sum() == 9
    assert "stage4.OSA4_2.ese.fc.bias" not in tensors


def test_the_first_generation_has_no_gates():
    tensors = _block(1, has_gate=False)
    assert open_absent_gates(tensors) == tensors


def test_deformable_layers_take_the_weights_of_plain_ones():
    torch.manual_seed(0)
    source = VoVNet(spec=VOVNETS["V-19-eSE"])
    settings = DeformableSettings((False, False, False, True), is_modulated=True)
    target = VoVNet(spec=VOVNETS["V-19-eSE"], deformable=settings)
    report = _load(target, dict(source.state_dict()))
    assert {name.rpartition("/")[2] for name in report.missing} == {
        "conv.offset.weight",
        "conv.offset.bias",
    }
    name = "stage5.OSA5_1.layers.1.OSA5_1_1/conv"
    torch.testing.assert_close(
        target.state_dict()[f"{name}.conv.weight"], source.state_dict()[f"{name}.weight"]
    )
