import pytest
import torch
from torch import nn

from maskrcnn_benchmark.layers import cell_conv, makes_patches, place_patches


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("size", [(2, 2), (1, 3), (1, 1)])
@torch.no_grad()
def test_patches_of_cells_are_the_transposed_convolution(size, has_bias):
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(5, 3, size, size, bias=has_bias).double()
    maps = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    assert makes_patches(conv)
    patches = cell_conv(conv)(maps).permute(0, 2, 3, 1).reshape(2, 4, 6, *size, 3)
    torch.testing.assert_close(place_patches(patches).permute(0, 3, 1, 2), conv(maps))


def test_of_no_images():
    assert place_patches(torch.zeros(0, 4, 6, 2, 3, 5)).shape == (0, 8, 18, 5)
