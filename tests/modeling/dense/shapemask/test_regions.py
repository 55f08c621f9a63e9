import torch

from maskrcnn_benchmark.modeling.dense.shapemask.regions import (
    crop_features,
    levels_of,
    masks_in_outer,
    outer_boxes,
)

STRIDES = (8, 16, 32, 64, 128)


def ramps(num_images=1, side=256):
    """Maps whose two channels are the column and the row of each cell."""
    maps = []
    for stride in STRIDES:
        y, x = torch.meshgrid(*[torch.arange(float(side // stride))] * 2, indexing="ij")
        maps.append(torch.stack([x, y]).expand(num_images, 2, *x.shape))
    return maps


def test_cells_lie_at_whole_numbers_and_bins_are_read_in_their_middles():
    """upstream: crop-alignment"""
    crop = crop_features(ramps(), [torch.tensor([[16.0, 32, 80, 64]])], STRIDES)
    steps = (torch.arange(32) + 0.5) / 32
    torch.testing.assert_close(crop[0, 0], (2 + steps * 8).expand(32, 32))
    torch.testing.assert_close(crop[0, 1], (4 + steps * 4)[:, None].expand(32, 32))


def test_boxes_with_less_than_no_area_are_read_from_the_finest_map():
    """Decoding counts an inclusive pixel: a box of less than one has its corners the wrong way."""
    boxes = torch.tensor([[91.5, 28.0, 91.0, 37.0], [5.0, 5.0, 4.5, 4.5], [0.0, 0.0, 300.0, 300.0]])
    assert levels_of(boxes, STRIDES).tolist()[0] == 0
    assert crop_features(ramps(), [boxes], STRIDES).shape == (3, 2, 32, 32)


def test_boxes_of_no_width_are_read_where_they_are():
    crop = crop_features(ramps(), [torch.tensor([[20.0, 0, 20, 255]])], STRIDES)
    torch.testing.assert_close(crop[0, 0], torch.full((32, 32), 2.5))
    assert crop[0, 1].max() == 31


def test_crops_come_in_the_order_of_boxes_whatever_their_level_and_photo():
    maps = [torch.stack([m[0], m[0] + 100]) for m in ramps()]
    boxes = [
        torch.tensor([[0.0, 0, 230, 230], [8, 8, 16, 16], [0, 0, 225, 225]]),
        torch.tensor([[8.0, 8, 16, 16], [0, 0, 0, 0]]),
    ]
    together = crop_features(maps, boxes, STRIDES)
    alone = [
        crop_features([m[n : n + 1] for m in maps], [box[None]], STRIDES)
        for n, own in enumerate(boxes)
        for box in own
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    empty = crop_features(maps, [torch.zeros(0, 4)] * 2, STRIDES)
    assert empty.shape == (0, 2, 32, 32)


def test_maps_of_one_cell_are_the_same_everywhere():
    maps = [torch.full((1, 2, 1, 1), 3.0, requires_grad=True) for _ in STRIDES]
    crop = crop_features(maps, [torch.tensor([[0.0, 0, 5, 7]])], STRIDES)
    assert torch.equal(crop, torch.full_like(crop, 3))
    crop.sum().backward()
    assert maps[0].grad.sum() == crop.numel()


def test_the_side_of_a_box_chooses_its_level():
    sides = torch.tensor([0.0, 223, 224, 447, 448, 896, 5000])
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], dim=1)
    assert levels_of(boxes, STRIDES).tolist() == [0, 0, 1, 1, 2, 3, 4]


def test_a_full_mask_stays_full_inside_its_box_and_nothing_is_beyond():
    boxes = torch.tensor([[64.0, 64, 128, 128], [0, 0, 255, 255], [7, 7, 7, 7]])
    outer = outer_boxes(boxes, 1.25, (256, 256))
    assert outer.tolist() == [[56, 56, 136, 136], [0, 0, 255, 255], [7, 7, 7, 7]]
    found = masks_in_outer(torch.ones(3, 32, 32), boxes, outer)
    # 80 px of 32 places: 3.2 of them lie before the box, 25.6 in it, and it fades in one.
    assert found[0, 16].tolist()[:3] == [0, 0, 0]
    assert found[0, 16, 4:28].min() > 0.9999
    assert found[0, 16, 30:].max() == 0
    assert found[1].min() > 0.9999
    assert masks_in_outer(torch.ones(0, 32, 32), boxes[:0], outer[:0]).shape == (0, 32, 32)
