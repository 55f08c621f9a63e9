import torch
from torch import nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.backbone.darknet import DarkNet, DarkNetBlock


def make_tiny(**options):
    return DarkNet(
        blocks_per_stage=(1, 2, 1, 1, 1), stem_channels=4, norm=nn.BatchNorm2d, **options
    )


def test_strides_and_channels():
    maps = make_tiny()(torch.randn(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, 16, 16, 24),
        (2, 32, 8, 12),
        (2, 64, 4, 6),
        (2, 128, 2, 3),
    ]


def test_block_by_hand():
    block = DarkNetBlock(channels=4, norm=nn.BatchNorm2d).eval()
    x = torch.randn(1, 4, 5, 5)

    def unit(x, layers, padding):
        return F.leaky_relu(layers[1](F.conv2d(x, layers[0].weight, padding=padding)), 0.1)

    expected = unit(unit(x, block.conv1, 0), block.conv2, 1) + x
    torch.testing.assert_close(block(x), expected)


def test_frozen_parts():
    body = make_tiny(freeze_at=2)
    trained = {name.split(".")[0] for name, p in body.named_parameters() if p.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}


def test_the_full_size_network():
    with torch.device("meta"):
        body = DarkNet.from_config(get_default_config())
    # Convolutions of YOLOv3's table without the classifier.
    assert sum(isinstance(module, nn.Conv2d) for module in body.modules()) == 52
    assert list(body.out_channels_per_stage) == [128, 256, 512, 1024]
