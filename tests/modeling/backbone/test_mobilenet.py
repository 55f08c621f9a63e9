import pytest
import torch
import torchvision

from maskrcnn_benchmark.modeling.backbone.mobilenet import STAGE_CHANNELS, MobileNetV2


def test_strides_and_channels():
    maps = MobileNetV2()(torch.randn(1, 3, 64, 32))
    assert [m.shape[1] for m in maps] == list(STAGE_CHANNELS)
    assert [tuple(m.shape[-2:]) for m in maps] == [(16, 8), (8, 4), (4, 2), (2, 1)]


def test_equals_the_torchvision_network_with_the_same_weights():
    torch.manual_seed(0)
    reference = torchvision.models.mobilenet_v2().eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)
    ours = MobileNetV2()
    source = [
        value
        for name, value in reference.features[:18].state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]
    state = ours.state_dict()
    for (name, value), weights in zip(state.items(), source, strict=True):
        assert value.shape == weights.shape
        if name.endswith("running_var"):
            weights = weights + 1e-5  # our frozen norm has no epsilon
        state[name] = weights
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    expected = images
    with torch.no_grad():
        maps = ours(images)
        for index, block in enumerate(reference.features[:18]):
            expected = block(expected)
            if index == 13:
                torch.testing.assert_close(maps[2], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[3], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("freeze_at", "num_frozen"), [(0, 0), (1, 2), (2, 4), (3, 7), (5, 18)])
def test_frozen_blocks(freeze_at, num_frozen):
    body = MobileNetV2(freeze_at=freeze_at)
    trainable = [any(p.requires_grad for p in block.parameters()) for block in body.features]
    assert trainable == [False] * num_frozen + [True] * (18 - num_frozen)
