import math

import pytest
import torch

from maskrcnn_benchmark.modeling.dense.tensormask.head import (
    TensorMaskHead,
    TensorMaskHeadSettings,
    enlarged,
)


def make_head(**changes):
    sizes = {"cls_channels": 6, "bbox_channels": 5, "mask_channels": 4, "num_convs": 2}
    settings = TensorMaskHeadSettings(
        in_channels=8,
        num_foreground=3,
        mask_sides=(11, 15),
        factors=(1, 2, 4),
        **(sizes | changes),
    )
    return TensorMaskHead(settings)


def make_maps(num_images=1):
    sizes = ((5, 6), (3, 3), (2, 2))
    return [torch.randn(num_images, 8, *size_hw) for size_hw in sizes]


@pytest.mark.parametrize("num_images", [2, 0])
def test_masks_have_the_finest_resolution_on_every_level(num_images):
    outputs = make_head()(make_maps(num_images))
    assert [one.shape[1:] for one in outputs.logits] == [(6, 5, 6), (6, 3, 3), (6, 2, 2)]
    assert [one.shape[1] for one in outputs.deltas] == [8] * 3
    assert [one.shape for one in outputs.mask_maps] == [(num_images, 4, 5, 6)] * 3
    assert [one.shape for one in outputs.filters] == [(121, 4), (225, 4)]
    natural = make_head(bipyramid=False)(make_maps(num_images))
    assert [one.shape[2:] for one in natural.mask_maps] == [(5, 6), (3, 3), (2, 2)]


def test_the_finest_level_is_added_to_itself():
    head, maps = make_head(), make_maps()
    outputs = head(maps)
    tower = head.mask_tower(maps[0])
    torch.testing.assert_close(outputs.mask_maps[0], head.mask_fuse(2 * tower))


def test_coarse_maps_lie_around_the_middles_of_cells():
    """upstream: corner-windows"""
    coarse = torch.arange(3.0).view(1, 1, 1, 3)
    found = enlarged(coarse, 2, torch.zeros(1, 1, 2, 5))
    # Cell 1 is centred between the fine cells 2 and 3; its window is around the corner at 2.
    expected = torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75]).expand(1, 1, 2, 5)
    torch.testing.assert_close(found, expected)


def test_the_start():
    head = make_head(prior_prob=0.01)
    assert torch.allclose(head.cls_logits.bias, torch.tensor(-math.log(99)))
    for name, parameter in head.named_parameters():
        if name.endswith("weight"):
            assert 0.005 < parameter.std() < 0.02, name
        elif name != "cls_logits.bias":
            assert (parameter == 0).all(), name
