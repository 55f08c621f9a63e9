import numpy as np
import pytest
import torch

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
    InstanceField,
)
from maskrcnn_benchmark.structures.photo_masks import PhotoMasks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.factories import rectangle


def make_masks():
    """Two blobs of a photo of 7 x 5 px."""
    generator = torch.Generator().manual_seed(0)
    bitmaps = torch.rand(2, 5, 7, generator=generator) > 0.4
    return PhotoMasks.of(SegmentationMask(bitmaps, (7, 5), mode="mask"))


def read_naively(bitmap, box, side):
    """Place by place, of a box in px of the photo."""
    height, width = bitmap.shape
    result = np.zeros((side, side), dtype=bool)
    for i in range(side):
        for j in range(side):
            y = (box[1] + i * (box[3] - box[1]) / (side - 1)) * (height - 1) / height
            x = (box[0] + j * (box[2] - box[0]) / (side - 1)) * (width - 1) / width
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                y0, x0 = int(y), int(x)
                y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                upper = bitmap[y0, x0] * (1 - x + x0) + bitmap[y0, x1] * (x - x0)
                lower = bitmap[y1, x0] * (1 - x + x0) + bitmap[y1, x1] * (x - x0)
                result[i, j] = upper * (1 - y + y0) + lower * (y - y0) >= 0.5
    return result


@pytest.mark.parametrize("side", [2, 5, 16])
def test_masks_are_read_from_the_first_pixel_to_the_last_one(side):
    """upstream: corner-aligned-targets"""
    masks = make_masks()
    boxes = torch.tensor([[0.31, 0.67, 6.13, 4.21], [-2.03, 1.137, 9.011, 6.283]])
    found = masks.read(boxes, side).numpy()
    for one, bitmap, box in zip(
        found, masks.masks.to_bitmasks().float().numpy(), boxes.tolist(), strict=True
    ):
        assert np.array_equal(one, read_naively(bitmap, box, side))


def test_what_is_read_stays_the_same_when_the_photo_is_resized_and_cut():
    masks, boxes = make_masks(), torch.tensor([[1.0, 1, 5, 4], [2, 0, 6, 3]])
    expected = masks.read(boxes, 8)
    moved = masks.resize((21, 10)).crop((4, 2, 20, 9))
    assert moved.size == (16, 7)
    places = boxes * torch.tensor([3.0, 2, 3, 2]) - torch.tensor([4.0, 2, 4, 2])
    assert torch.equal(moved.read(places, 8), expected)
    assert torch.equal(moved[[1]].read(places[1:], 8), expected[1:])


@pytest.mark.parametrize("method", [FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, FLIP_DIAGONAL])
def test_flips_go_with_boxes(method):
    target = BoxList(torch.tensor([[1.0, 1, 5, 4], [2, 0, 6, 3]]), (7, 5), pixel_offset=0)
    target = target.with_field("masks", make_masks()).resize((14, 15))
    target = BoxList(target.bbox, target.size, pixel_offset=0).with_field(
        "masks", target.get_field("masks").crop((1, 2, 13, 14)).resize((14, 15))
    )
    flipped = target.transpose(method)
    expected = target.get_field("masks").read(target.bbox, 9)
    found = flipped.get_field("masks").read(flipped.bbox, 9)
    turned = {
        FLIP_LEFT_RIGHT: expected.flip(2),
        FLIP_TOP_BOTTOM: expected.flip(1),
        FLIP_DIAGONAL: expected.transpose(1, 2),
    }[method]
    assert (found != turned).float().mean() < 0.02
    assert flipped.get_field("masks").size == flipped.size


def test_it_follows_boxes_takes_polygons_and_may_be_empty():
    polygons = SegmentationMask([[rectangle(1, 1, 6, 4)]], (7, 5))
    masks = PhotoMasks.of(polygons)
    assert isinstance(masks, InstanceField)
    assert PhotoMasks.of(masks) is masks
    bitmaps = masks.convert("mask")
    box = torch.tensor([[0.0, 0, 7, 5]])
    assert torch.equal(masks.read(box, 8), bitmaps.read(box, 8))
    assert masks.to("cpu").read(box, 8).any()
    assert masks[torch.zeros(1, dtype=torch.bool)].read(torch.zeros(0, 4), 8).shape == (0, 8, 8)


def test_bitmaps_are_those_of_the_image():
    masks = make_masks()
    assert torch.equal(masks.to_bitmasks(), masks.masks.to_bitmasks())
    moved = masks.resize((14, 10)).crop((2, 4, 12, 10))
    repeated = masks.masks.to_bitmasks()[:, 2:5, 1:6]
    found = moved.to_bitmasks()
    assert found.shape == (2, 6, 10)
    assert (found != repeated.repeat_interleave(2, 1).repeat_interleave(2, 2)).float().mean() < 0.25
