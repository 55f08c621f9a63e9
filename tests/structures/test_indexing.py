import numpy as np
import pytest
import torch

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.indexing import as_index
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


@pytest.mark.parametrize(("item", "expected"), [(0, [0]), (2, [2]), (-3, [0])])
def test_an_int_keeps_the_dimension(item, expected):
    assert list(range(3))[as_index(item, 3)] == expected


@pytest.mark.parametrize("item", [3, -4])
def test_an_int_outside_is_refused(item):
    with pytest.raises(IndexError, match=rf"{item}\b.*\b3\b"):
        as_index(item, 3)


def test_an_empty_list_is_an_index():
    assert as_index([], 3).dtype == torch.int64
    assert as_index(torch.zeros(0), 0).dtype == torch.int64


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ([True, False], r"mask .*\(2,\)"),
        (torch.zeros(2, dtype=torch.uint8), r"mask .*\(2,\)"),
        (torch.zeros(2, 1).long(), "dimension"),
    ],
)
def test_other_shapes_are_refused(item, message):
    with pytest.raises(IndexError, match=message):
        as_index(item, 3)


def test_uint8_is_a_mask_for_boxes_and_both_kinds_of_masks():
    """Regression: boxes took uint8 for a mask, polygons took it for indices."""
    mask = torch.tensor([0, 1, 1], dtype=torch.uint8)
    bitmaps = torch.zeros(3, 4, 5, dtype=torch.bool)
    for instance in range(3):
        bitmaps[instance, : instance + 1, :2] = True
    for mode in ("poly", "mask"):
        boxes = BoxList(torch.arange(12.0).reshape(3, 4), (5, 4))
        boxes.add_field("masks", SegmentationMask(bitmaps, (5, 4), mode))
        for item in (mask, mask.numpy()):
            kept = boxes[item]
            assert torch.equal(kept.bbox, boxes.bbox[1:])
            assert torch.equal(kept.get_field("masks").to_bitmasks(), bitmaps[1:])


def test_one_uint8_number_is_an_index():
    assert as_index(np.uint8(2), 3).tolist() == [2]
