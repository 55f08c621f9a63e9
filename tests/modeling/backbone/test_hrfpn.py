import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.backbone.hrfpn import HRFPN


def make_hrfpn(stride=1, in_channels_list=(2, 3, 4), out_channels=5):
    torch.manual_seed(0)
    fpn = HRFPN(in_channels_list=in_channels_list, out_channels=out_channels, stride=stride)
    nn.init.normal_(fpn.reduction_conv.bias)
    return fpn


def random_maps(in_channels_list, finest_hw, num_images=2):
    height, width = finest_hw
    return [
        torch.randn(num_images, channels, -(-height // 2**i), -(-width // 2**i))
        for i, channels in enumerate(in_channels_list)
    ]


@pytest.mark.parametrize("finest_hw", [(32, 48), (9, 13)])
def test_equals_one_convolution_of_all_maps_on_one_another(finest_hw):
    fpn = make_hrfpn()
    features = random_maps((2, 3, 4), finest_hw)
    enlarged = [F.interpolate(m, size=finest_hw, mode="bilinear") for m in features]
    joined = fpn.reduction_conv(torch.cat(enlarged, dim=1))
    maps = fpn(features)
    torch.testing.assert_close(maps[0], fpn.fpn_convs[0](joined))
    pooled = F.avg_pool2d(joined, 4, ceil_mode=True)
    torch.testing.assert_close(maps[2], fpn.fpn_convs[2](pooled))


@pytest.mark.parametrize(
    ("stride", "sizes"),
    [
        (1, [(25, 40), (13, 20), (7, 10), (4, 5), (2, 3)]),
        (2, [(13, 20), (7, 10), (4, 5), (2, 3), (1, 2)]),
    ],
)
def test_sizes_halve_and_round_up(stride, sizes):
    maps = make_hrfpn(stride)(random_maps((2, 3, 4), (25, 40)))
    assert [tuple(m.shape[-2:]) for m in maps] == sizes
    assert {m.shape[1] for m in maps} == {5}


def test_windows_at_the_border_average_what_they_have():
    fpn = HRFPN(in_channels_list=(1,), out_channels=1, stride=1, num_levels=2)
    for parameter in fpn.parameters():
        nn.init.zeros_(parameter)
    for conv in (fpn.reduction_conv, *fpn.fpn_convs):
        nn.init.dirac_(conv.weight)
    x = torch.tensor([[1.0, 3.0, 10.0], [5.0, 7.0, 20.0], [2.0, 4.0, 9.0]]).view(1, 1, 3, 3)
    assert fpn([x])[1][0, 0].tolist() == [[4.0, 15.0], [3.0, 9.0]]


@pytest.mark.parametrize(("num_images", "finest_hw"), [(0, (16, 16)), (1, (1, 1))])
def test_no_images_and_single_cells(num_images, finest_hw):
    features = random_maps((2, 3, 4), finest_hw, num_images)
    features[0].requires_grad_()
    maps = make_hrfpn(2)(features)
    assert len(maps) == 5
    sum(m.sum() for m in maps).backward()
    assert features[0].grad.shape == features[0].shape
