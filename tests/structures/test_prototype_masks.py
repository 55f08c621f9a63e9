import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.structures import prototype_masks
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist
from maskrcnn_benchmark.structures.prototype_masks import (
    PrototypeMasks,
    crop_bounds,
    mix_prototypes,
)


def make(num_masks=7, size=(61, 47), grid=(13, 17)):
    corners = torch.rand(num_masks, 2, 2) * 1.4 - 0.2
    boxes = torch.cat([corners[:, 0], corners[:, 1]], dim=1)
    return PrototypeMasks(torch.rand(4, *grid), torch.randn(num_masks, 4) * 3, boxes, size)


def restated(masks):
    """Every mask as a plane, as the paper says it."""
    width, height = masks.size
    planes = masks.probabilities()
    return F.interpolate(planes[:, None], (height, width), mode="bilinear")[:, 0] > 0.5


def test_crop_by_hand():
    """upstream: crop-padding"""
    # In a grid of 10 x 20 cells: columns 4..12, and rows 2..5.
    boxes = torch.tensor([[0.25, 0.3, 0.6, 0.5], [0.6, 0.5, 0.25, 0.3], [-1, 0.9, 2, 1.5]])
    bounds = crop_bounds(boxes, (10, 20))
    assert bounds[0].tolist() == pytest.approx([4, 2, 13, 6])
    assert torch.equal(bounds[0], bounds[1])
    assert bounds[2].tolist() == [0, 8, 20, 10]
    mixed = mix_prototypes(torch.ones(1, 10, 20), torch.tensor([[0.0]] * 3), boxes)
    assert mixed[0].nonzero().amin(dim=0).tolist() == [2, 4]
    assert mixed[0].nonzero().amax(dim=0).tolist() == [5, 12]
    assert mixed[0].unique().tolist() == [0, 0.5]


@pytest.mark.parametrize("size", [(61, 47), (9, 5), (17, 13), (200, 3), (1, 1)])
def test_windows_are_the_whole_planes(size):
    masks = make(size=size)
    expected = restated(masks)
    assert torch.equal(masks.planes().bool(), expected)
    for rle, plane in zip(masks.encode(), expected.numpy(), strict=True):
        assert rle == {
            "size": list(size[::-1]),
            "counts": mask_utils.encode(np.asfortranarray(plane.view(np.uint8)))["counts"].decode(),
        }


@pytest.mark.parametrize("size", [(40, 30), (400, 300), (5, 3)])
def test_large_masks_are_made_piece_by_piece(monkeypatch, size):
    masks = make().resize(size)
    expected = masks.planes()
    # Alone, a column may be one that no cell of the window has a share in.
    for columns in (1, 7):
        monkeypatch.setattr(prototype_masks, "_COLUMNS_AT_ONCE", columns)
        assert torch.equal(masks.planes(), expected)


def test_a_mask_costs_its_box_alone():
    boxes = torch.tensor([[0.5, 0.5, 0.5 + 1 / 128, 0.5 + 1 / 128]])
    masks = PrototypeMasks(torch.ones(1, 128, 128), torch.tensor([[9.0]]), boxes, (4096, 4096))
    ((x0, y0, mask),) = masks.crops()
    # The cell, one around it on each side, and where these fade: 5 cells of 32 px at the most.
    assert max(mask.shape) <= 160
    assert 1900 < min(x0, y0) < 2048
    assert mask.any()


def test_index_join_move_and_resize():
    masks = make()
    planes = masks.planes()
    assert torch.equal(masks[[4, 1]].planes(), planes[[4, 1]])
    assert torch.equal(masks[2:].cat([masks[0]]).planes(), planes[[2, 3, 4, 5, 6, 0]])
    assert torch.equal(masks.to("cpu").planes(), planes)
    assert torch.equal(masks.resize((20, 30)).planes(), restated(masks.resize((20, 30))).byte())
    with pytest.raises(ValueError, match="prototypes"):
        masks.cat([make()])


def test_they_follow_their_boxes():
    masks = make()
    boxes = BoxList(torch.rand(7, 4), masks.size)
    boxes.add_field("mask", masks)
    planes = masks.planes()
    assert torch.equal(boxes[[5, 0]].predicted_masks.planes(), planes[[5, 0]])
    joined = cat_boxlist([boxes[:2], boxes[5:]])
    assert torch.equal(joined.predicted_masks.planes(), planes[[0, 1, 5, 6]])


def test_none_and_masks_without_a_cell():
    masks = make(0)
    assert masks.encode() == []
    assert masks.planes().shape == (0, 47, 61)
    assert mix_prototypes(masks.prototypes, masks.coefficients, masks.boxes).shape == (0, 13, 17)
    outside = PrototypeMasks(
        torch.ones(1, 4, 4), torch.ones(1, 1), torch.tensor([[2.0, 2, 3, 3]]), (8, 8)
    )
    assert not outside.planes().any()


def test_gradients_reach_prototypes_and_coefficients():
    prototypes = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    coefficients = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]]).double()
    torch.autograd.gradcheck(lambda p, c: mix_prototypes(p, c, boxes), (prototypes, coefficients))


def test_numbers_that_do_not_fit():
    with pytest.raises(ValueError, match="coefficients"):
        PrototypeMasks(torch.ones(2, 4, 4), torch.ones(3, 1), torch.ones(3, 4), (8, 8))
