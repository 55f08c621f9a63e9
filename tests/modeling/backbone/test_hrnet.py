import itertools

import pytest
import timm
import torch
from torch import nn

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone.hrnet import WIDTHS, FusionModule, HRNet

PARTS = (
    ("conv1", "conv2"),
    ("layer1",),
    ("transition1", "stage2"),
    ("transition2", "stage3"),
    ("transition3", "stage4"),
)
EVERY_WIDTH = pytest.mark.parametrize(
    "width", [18, *(pytest.param(width, marks=pytest.mark.slow) for width in WIDTHS[1:])]
)


def make_tiny(**options):
    torch.manual_seed(0)
    return HRNet(width=2, **options)


def test_strides_and_channels():
    maps = make_tiny()(torch.randn(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, 2, 16, 24),
        (2, 4, 8, 12),
        (2, 8, 4, 6),
        (2, 16, 2, 3),
    ]


@pytest.mark.parametrize(("image_hw", "finest"), [((50, 37), (13, 10)), ((1, 1), (1, 1))])
def test_odd_and_tiny_images(image_hw, finest):
    maps = make_tiny()(torch.randn(1, 3, *image_hw))
    sizes = [tuple(m.shape[-2:]) for m in maps]
    assert sizes[0] == finest
    for fine, coarse in itertools.pairwise(sizes):
        assert coarse == tuple((side + 1) // 2 for side in fine)


def test_no_images():
    assert [m.shape[0] for m in make_tiny()(torch.zeros(0, 3, 32, 32))] == [0] * 4


def test_fusion_by_hand():
    """Blocks that pass their input on; paths that do so, too: sums of repeated and picked cells."""
    module = FusionModule([1, 1])
    for name, parameter in module.named_parameters():
        nn.init.zeros_(parameter)
        if "fuse_layers" in name:
            nn.init.dirac_(parameter)
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    coarse = torch.tensor([[100.0, 200.0], [300.0, 400.0]]).view(1, 1, 2, 2)
    ours = module([fine, coarse])
    expected = fine + coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(ours[0], expected)
    torch.testing.assert_close(ours[1], coarse + fine[..., ::2, ::2])


@EVERY_WIDTH
def test_keys_and_shapes(width):
    """The state dict is that of the ImageNet weights without the classifier and step counters."""
    with torch.device("meta"):
        reference = timm.create_model(f"hrnet_w{width}")
        body = HRNet(width=width)
    head = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
    expected = {
        name: tuple(value.shape)
        for name, value in reference.state_dict().items()
        if not name.startswith(head) and not name.endswith("num_batches_tracked")
    }
    assert {name: tuple(value.shape) for name, value in body.state_dict().items()} == expected


def randomize_norms(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.8, 1.2)


@EVERY_WIDTH
def test_equals_the_network_of_timm_with_the_same_weights(width):
    torch.manual_seed(0)
    reference = timm.create_model(f"hrnet_w{width}").eval()
    randomize_norms(reference)
    body = HRNet(width=width)
    names = body.state_dict().keys()
    body.load_state_dict(
        {
            # Our frozen norm has no epsilon.
            name: value + 1e-5 if name.endswith("running_var") else value
            for name, value in reference.state_dict().items()
            if name in names
        }
    )
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stem = reference.act1(reference.bn1(reference.conv1(x)))
        expected = reference.stages(reference.act2(reference.bn2(reference.conv2(stem))))
        for ours, theirs in zip(body(x), expected, strict=True):
            scale = theirs.abs().max()
            torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("freeze_at", range(6))
def test_frozen_parts_get_no_gradient(freeze_at):
    body = make_tiny(freeze_at=freeze_at)
    maps = body(torch.randn(1, 3, 32, 32))
    if freeze_at < 5:
        sum(m.square().sum() for m in maps).backward()
    for index, names in enumerate(PARTS):
        parameters = [p for name in names for p in body.get_submodule(name).parameters()]
        assert parameters
        assert all((p.grad is None) == (index < freeze_at) for p in parameters)


def test_settings_freeze_stem_and_bottlenecks():
    with torch.device("meta"):
        body = HRNet.from_config(get_default_config(), 18)
    frozen = {name.split(".")[0] for name, p in body.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "conv2", "layer1"}
    assert isinstance(body.bn1, FrozenBatchNorm2d)
