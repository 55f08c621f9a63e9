import pickle

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.structures.binary_mask_list import BinaryMaskList
from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
)
from maskrcnn_benchmark.structures.polygon_list import PolygonList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.factories import elliptic_masks, random_boxlist, rectangle

SIZE = (12, 10)
POLYGONS = [rectangle(2, 3, 5, 9)]
RLE = {"size": [10, 12], "counts": [33, 4, 6, 4, 73]}  # rows 3..6 of columns 3 and 4
BOTH_MODES = pytest.mark.parametrize("mode", ["poly", "mask"])


def intersection_over_union(first, second):
    return ((first & second).sum() / (first | second).sum().clamp(min=1)).item()


@BOTH_MODES
def test_polygons_and_rles_mix_in_either_mode(mode):
    masks = SegmentationMask([POLYGONS, RLE], SIZE, mode)
    expected = torch.zeros(2, 10, 12, dtype=torch.bool)
    expected[0, 3:9, 2:5] = True
    expected[1, 3:7, 3:5] = True
    assert_close(masks.to_bitmasks(), expected)
    assert isinstance(masks.instances, PolygonList if mode == "poly" else BinaryMaskList)


@BOTH_MODES
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_bitmaps_in_either_mode(mode, dtype):
    bitmaps = SegmentationMask([POLYGONS, RLE], SIZE).to_bitmasks()
    masks = SegmentationMask(bitmaps.to(dtype), SIZE, mode)
    assert masks.mode == mode
    assert_close(masks.to_bitmasks(), bitmaps)


@BOTH_MODES
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_a_list_of_bitmaps_mixes_with_the_rest(mode, dtype):
    """Regression: the rows of a (H, W) bitmap were read as polygons."""
    expected = SegmentationMask([POLYGONS, RLE, POLYGONS, RLE], SIZE).to_bitmasks()
    bitmaps = expected.to(dtype)
    masks = SegmentationMask([bitmaps[0], bitmaps[1].numpy(), POLYGONS, RLE], SIZE, mode)
    assert_close(masks.to_bitmasks(), expected)
    assert_close(SegmentationMask(bitmaps.numpy(), SIZE, mode).to_bitmasks(), expected)


@BOTH_MODES
@pytest.mark.parametrize("convert", [torch.as_tensor, np.asarray])
def test_a_lone_bitmap_is_one_instance(mode, convert):
    expected = SegmentationMask([POLYGONS], SIZE).to_bitmasks()
    masks = SegmentationMask(convert(expected[0]), SIZE, mode)
    assert_close(masks.to_bitmasks(), expected)


@BOTH_MODES
@pytest.mark.parametrize("make", [torch.zeros, np.zeros])
def test_bitmaps_of_another_shape_are_refused(mode, make):
    for given in (make((12, 10)), [make((12, 10))], [POLYGONS, make((12, 10))]):
        with pytest.raises(ValueError, match=r"\(10, 12\).*\(12, 10\)"):
            SegmentationMask(given, SIZE, mode)
    with pytest.raises(ValueError, match=r"\(10, 12\).*\(1, 10, 12\)"):
        SegmentationMask([make((1, 10, 12))], SIZE, mode)


def test_containers_are_taken_as_they_are():
    polygons = PolygonList([POLYGONS], SIZE)
    assert SegmentationMask(polygons, SIZE).instances is polygons
    with pytest.raises(ValueError, match=r"PolygonList.*'mask'"):
        SegmentationMask(polygons, SIZE, "mask")


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match="'polygon'"):
        SegmentationMask([POLYGONS], SIZE, "polygon")


def test_a_tensor_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(K, 10, 12\)"):
        SegmentationMask(torch.zeros(1, 12, 10), SIZE)


def test_conversion_there_and_back():
    masks = elliptic_masks(random_boxlist(5))
    bitmaps = masks.convert("mask")
    assert bitmaps.mode == "mask"
    assert_close(bitmaps.to_bitmasks(), masks.to_bitmasks())
    assert_close(bitmaps.convert("poly").to_bitmasks(), masks.to_bitmasks())
    assert bitmaps.convert("mask") is bitmaps


def test_both_modes_agree_after_changes():
    polygons = elliptic_masks(random_boxlist(5))
    bitmaps = polygons.convert("mask")
    changes = [
        lambda masks: masks.transpose(FLIP_LEFT_RIGHT),
        lambda masks: masks.transpose(FLIP_TOP_BOTTOM),
        lambda masks: masks.transpose(FLIP_DIAGONAL),
        lambda masks: masks.crop((10, 5, 100, 70)),
        lambda masks: masks.resize((240, 180)),
        lambda masks: masks.resize((100, 110)),
    ]
    for change in changes:
        first, second = change(polygons), change(bitmaps)
        assert first.size == second.size
        assert len(first) == len(second) == 5
        for one, other in zip(first.to_bitmasks(), second.to_bitmasks(), strict=True):
            assert intersection_over_union(one, other) > 0.9


@BOTH_MODES
def test_iteration_and_indexing_give_masks(mode):
    masks = SegmentationMask([POLYGONS, RLE], SIZE, mode)
    assert len(masks) == 2
    assert [len(each) for each in masks] == [1, 1]
    assert_close(masks[1].to_bitmasks(), masks.to_bitmasks()[1:])
    assert masks[torch.tensor([True, False])].mode == mode
    with pytest.raises(IndexError, match=r"\b2\b"):
        masks[2]


@BOTH_MODES
def test_mask_tensor_of_one_instance_has_two_dimensions(mode):
    """upstream: mask-tensor-squeeze."""
    masks = SegmentationMask([POLYGONS, RLE], SIZE, mode)
    assert masks.get_mask_tensor().shape == (2, 10, 12)
    assert masks.get_mask_tensor().dtype == torch.uint8
    assert masks[0].get_mask_tensor().shape == (10, 12)
    assert masks[[]].get_mask_tensor().shape == (0, 10, 12)


@BOTH_MODES
def test_no_instances(mode):
    empty = SegmentationMask([], SIZE, mode)
    for changed in (
        empty.resize((6, 5)),
        empty.crop((0, 0, 6, 5)),
        empty.transpose(FLIP_LEFT_RIGHT),
        empty.convert("poly"),
        empty.convert("mask"),
        empty.to("cpu"),
        empty[torch.zeros(0, dtype=torch.bool)],
    ):
        assert len(changed) == 0
        assert list(changed) == []
    assert empty.to_bitmasks().shape == (0, 10, 12)


def test_crop_reads_a_tensor():
    box = torch.tensor([2.0, 3.0, 6.5, 9.0], requires_grad=True)
    cropped = SegmentationMask([POLYGONS], SIZE).crop(box)
    assert cropped.size == (4.5, 6)
    assert cropped.to_bitmasks().shape == (1, 6, 4)


def test_another_flip_is_refused():
    with pytest.raises(ValueError, match=r"method.*\b2\b"):
        SegmentationMask([POLYGONS], SIZE).transpose(2)


def test_to_moves_bitmaps_only():
    polygons = SegmentationMask([POLYGONS], SIZE)
    assert polygons.to("meta") is polygons
    assert polygons.convert("mask").to("meta").to_bitmasks().device.type == "meta"


@BOTH_MODES
def test_survives_pickling(mode):
    masks = SegmentationMask([POLYGONS, RLE], SIZE, mode)
    again = pickle.loads(pickle.dumps(masks))
    assert_close(again.to_bitmasks(), masks.to_bitmasks())
    assert repr(again) == (
        f"SegmentationMask(num_instances=2, image_width=12, image_height=10, mode={mode})"
    )
