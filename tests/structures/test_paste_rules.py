"""How masks of boxes become pixels: the original's rule, and sub-pixel pasting."""

import math
import tracemalloc

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
import torch.nn.functional as F

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste_rules import (
    LEGACY_PASTE,
    SUB_PIXEL_PASTE,
    PasteRule,
    SubPixelPaste,
)
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks
from tests.factories import blob_probabilities, masks_in, random_boxes
from tests.golden_data import golden_npz

SIZE = (60, 40)
RULES = (LEGACY_PASTE, SUB_PIXEL_PASTE)
AWKWARD_BOXES = {
    "inside": [10.0, 5.0, 40.0, 30.0],
    "whole image": [0.0, 0.0, 59.0, 39.0],
    "larger than the image": [-20.0, -30.0, 90.0, 80.0],
    "over the left border": [-15.0, 10.0, 12.0, 20.0],
    "over the bottom right corner": [50.5, 30.5, 75.3, 52.9],
    "outside on the right": [80.0, 10.0, 99.0, 20.0],
    "outside above": [10.0, -50.0, 30.0, -10.0],
    "one pixel": [20.0, 20.0, 20.0, 20.0],
    "less than a pixel": [20.2, 20.2, 20.3, 20.4],
    "one column": [30.0, 0.0, 30.0, 39.0],
    "full height": [12.0, -3.0, 31.0, 44.0],
    "inverted": [30.0, 20.0, 20.0, 10.0],
    "last pixel": [59.0, 39.0, 59.0, 39.0],
}


def paste_by_full_resize(mask, box, size, threshold=0.5, padding=1):
    """Oracle: the whole box by torch's own resize, then pixel by pixel into the image."""
    side = mask.shape[-1]
    center_x, center_y = (box[0] + box[2]) * 0.5, (box[1] + box[3]) * 0.5
    factor = (side + 2 * padding) / side
    half_w, half_h = (box[2] - box[0]) * 0.5 * factor, (box[3] - box[1]) * 0.5 * factor
    x1, y1 = int(center_x - half_w), int(center_y - half_h)
    x2, y2 = int(center_x + half_w), int(center_y + half_h)
    shape = (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1))
    padded = F.pad(mask[None, None], (padding,) * 4)
    resized = F.interpolate(padded, shape, mode="bilinear", align_corners=False)[0, 0]
    plane = torch.zeros(size[1], size[0], dtype=torch.uint8)
    for row, values in enumerate(resized > threshold):
        for column, value in enumerate(values):
            if 0 <= y1 + row < size[1] and 0 <= x1 + column < size[0]:
                plane[y1 + row, x1 + column] = value
    return plane


def encode_planes(planes):
    """Oracle: COCO's encoding of whole planes."""
    stack = np.asfortranarray(planes.permute(1, 2, 0).numpy())
    return [
        {"size": list(rle["size"]), "counts": rle["counts"].decode()}
        for rle in mask_utils.encode(stack)
    ]


@pytest.mark.golden
def test_pasting_of_the_original():
    golden = golden_npz("ops")
    width, height = golden["paste_image_wh"].tolist()
    boxes = BoxList(golden["paste_boxes"], (width, height))
    masks = torch.from_numpy(golden["paste_masks"])
    pasted = masks_in(boxes, masks)
    planes = pasted.planes()
    expected = np.unpackbits(golden["paste_out"])[: planes.numel()].reshape(planes.shape)
    np.testing.assert_array_equal(planes.numpy(), expected)
    assert pasted.encode() == encode_planes(planes)


@pytest.mark.parametrize("box", AWKWARD_BOXES.values(), ids=AWKWARD_BOXES.keys())
@pytest.mark.parametrize("kind", ["blob", "full", "empty"])
def test_paste_agrees_with_the_full_resize(box, kind):
    mask = {
        "blob": blob_probabilities(1, 14),
        "full": torch.ones(1, 1, 14, 14),
        "empty": torch.zeros(1, 1, 14, 14),
    }[kind]
    boxes = BoxList([box], SIZE)
    pasted = masks_in(boxes, mask)
    planes = pasted.planes()
    expected = paste_by_full_resize(mask[0, 0], boxes.bbox[0].numpy(), SIZE)
    np.testing.assert_array_equal(planes[0], expected)
    assert pasted.encode() == encode_planes(planes)


@pytest.mark.parametrize(("threshold", "padding"), [(0.3, 1), (0.5, 0), (0.7, 3)])
def test_threshold_and_padding(threshold, padding):
    masks = blob_probabilities(4, 14)
    boxes = BoxList(random_boxes(4, SIZE) * 1.3 - 6, SIZE)
    pasted = masks_in(boxes, masks, threshold, padding)
    planes = pasted.planes()
    for mask, box, plane in zip(masks, boxes.bbox, planes, strict=True):
        expected = paste_by_full_resize(mask[0], box.numpy(), SIZE, threshold, padding)
        np.testing.assert_array_equal(plane, expected)
    assert pasted.encode() == encode_planes(planes)


def test_encoding_of_many_masks_agrees_with_whole_planes():
    masks = blob_probabilities(200, 28)
    corners = random_boxes(200, (160, 120)) * 1.5 - 30
    for boxes in (BoxList(corners, (160, 120)), BoxList(corners, (160, 120)).convert("xywh")):
        planes, rles = masks_in(boxes, masks).planes(), masks_in(boxes, masks).encode()
        assert rles == encode_planes(planes)
        assert [mask_utils.area(rle) for rle in rles] == planes.sum(dim=(1, 2)).tolist()


def test_runs_join_over_columns():
    boxes = BoxList([[1.0, 0.0, 2.0, 2.0]], (4, 3))
    (rle,) = masks_in(boxes, torch.ones(1, 1, 4, 4), padding=0).encode()
    decoded = mask_utils.decode(rle)
    np.testing.assert_array_equal(decoded, [[0, 1, 1, 0]] * 3)
    assert rle["counts"] == mask_utils.encode(np.asfortranarray(decoded))["counts"].decode()


def test_a_crop_is_the_visible_part():
    mask = blob_probabilities(1, 14)
    box = [-15.0, 10.0, 12.0, 20.0]
    (pasted,) = masks_in(BoxList([box], SIZE), mask).crops()
    assert pasted.x0 == 0
    assert pasted.mask.dtype == np.uint8
    plane = np.zeros((40, 60), dtype=np.uint8)
    rows, columns = pasted.mask.shape
    assert columns < 20
    plane[pasted.y0 : pasted.y0 + rows, :columns] = pasted.mask
    np.testing.assert_array_equal(plane, paste_by_full_resize(mask[0, 0], np.array(box), SIZE))


@pytest.mark.parametrize("rule", RULES)
def test_a_paste_outside_is_empty(rule):
    outside = torch.tensor([[80.0, 10.0, 99.0, 20.0], [-30.0, -30.0, -9.0, -9.0]])
    masks = BoxMasks(torch.ones(2, 1, 14, 14), outside, SIZE, rule)
    assert [crop.mask.size for crop in masks.crops()] == [0, 0]
    assert masks.encode() == encode_planes(torch.zeros(2, 40, 60).byte())


@pytest.mark.parametrize("rule", RULES)
def test_a_huge_box_costs_its_visible_part_only(rule):
    mask = blob_probabilities(1, 28)
    masks = BoxMasks(mask, torch.tensor([[-5e5, -5e5, 5e5, 5e5]]), SIZE, rule)
    tracemalloc.start()
    try:
        planes, rles = masks.planes(), masks.encode()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1e6
    # So small a part of so large a mask has one value, the one at its centre.
    center = (mask[0, 0, 13:15, 13:15].mean() > 0.5).item()
    assert planes.eq(int(center)).all()
    assert rles == encode_planes(planes)


@pytest.mark.parametrize("rule", RULES)
def test_even_larger_boxes(rule):
    boxes = torch.tensor([[-1e20, -1e20, 1e20, 1e20], [1e20, 0.0, 2e20, 9.0]])
    planes = BoxMasks(torch.ones(2, 1, 28, 28), boxes, SIZE, rule).planes()
    assert planes[0].all()
    assert not planes[1].any()


def test_a_large_box_agrees_with_the_full_resize():
    mask = blob_probabilities(1, 28)
    box = [-900.0, -700.0, 800.0, 1100.0]
    planes = masks_in(BoxList([box], SIZE), mask).planes()
    padded = F.pad(mask, (1,) * 4)
    # 1700 x 1800 about (-50, 200), times 30 / 28 and rounded towards zero.
    x1, y1, x2, y2 = -960, -764, 860, 1164
    shape = (y2 - y1 + 1, x2 - x1 + 1)
    resized = F.interpolate(padded, shape, mode="bilinear", align_corners=False)[0, 0] > 0.5
    expected = resized[-y1 : -y1 + 40, -x1 : -x1 + 60]
    np.testing.assert_array_equal(planes[0], expected.numpy())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("none", [torch.zeros(0, 1, 28, 28), ()], ids=["stack", "mixed"])
def test_no_masks(rule, none):
    masks = BoxMasks(none, torch.zeros(0, 4), SIZE, rule)
    assert masks.planes().shape == (0, 40, 60)
    assert (masks.encode(), list(masks.crops()), len(masks)) == ([], [], 0)


@pytest.mark.parametrize("rule", RULES)
def test_masks_of_half_precision_with_gradient(rule):
    probabilities = blob_probabilities(1).half()
    boxes = torch.tensor([AWKWARD_BOXES["inside"]])
    expected = BoxMasks(probabilities.float(), boxes, SIZE, rule)
    assert expected.planes().sum() > 0
    masks = BoxMasks(probabilities.requires_grad_(), boxes.requires_grad_(), SIZE, rule)
    assert torch.equal(masks.planes(), expected.planes())
    assert masks.encode() == expected.encode()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["crops", "encode"])
def test_boxes_that_are_not_finite_are_refused(rule, value, method):
    boxes = torch.tensor([[0.0, 0.0, value, 9.0]])
    masks = BoxMasks(torch.zeros(1, 1, 28, 28), boxes, SIZE, rule)
    with pytest.raises(ValueError, match="finite"):
        list(getattr(masks, method)())


def test_unthresholded_masks_agree_with_the_thresholded_ones():
    """Regression: a threshold below 0 filled the boxes with 1; it shows the probabilities."""
    masks = blob_probabilities(4, 14)
    boxes = BoxList(random_boxes(4, SIZE) * 1.3 - 6, SIZE)
    shown = masks_in(boxes, masks, threshold=-1).planes()
    assert shown.max() > 200
    for level in (0, 100, 200):
        # Pixels of exactly level + 1 may fall either way when they are rounded to float32.
        thresholded = masks_in(boxes, masks, (level + 1) / 255).planes().bool()
        np.testing.assert_array_equal(thresholded & (shown != level + 1), shown > level + 1)


def test_unthresholded_masks_have_no_run_lengths():
    with pytest.raises(ValueError, match=r"threshold: .*got -1"):
        masks_in(BoxList([], SIZE), torch.zeros(0, 1, 28, 28), threshold=-1).encode()


def paste_pixel_by_pixel(mask, box, size, threshold=0.5):
    """Oracle: every pixel of the image reads its four neighbours in the mask, zeros around it."""
    side, (x1, y1, x2, y2) = len(mask), box
    plane = np.zeros(size[::-1], dtype=np.uint8)
    for i, j in np.ndindex(plane.shape):
        row = (i + 0.5 - y1) / (y2 - y1) * side - 0.5
        column = (j + 0.5 - x1) / (x2 - x1) * side - 0.5
        value = 0.0
        for r in (math.floor(row), math.floor(row) + 1):
            for c in (math.floor(column), math.floor(column) + 1):
                if 0 <= r < side and 0 <= c < side:
                    value += mask[r][c] * (1 - abs(row - r)) * (1 - abs(column - c))
        plane[i, j] = value >= threshold
    return plane


def test_sub_pixel_pasting_by_hand():
    # A box of 2 x 2 px over 4 x 4: the pixel centres 0.5 to 3.5 read the mask's columns at
    # -1, 0, 1 and 2, so at its own two values and at the zeros beside them.
    corner = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    masks = BoxMasks(corner, torch.tensor([[1.0, 1.0, 3.0, 3.0]]), (4, 4), SUB_PIXEL_PASTE)
    expected = torch.zeros(4, 4, dtype=torch.uint8)
    expected[1, 1] = 1
    assert torch.equal(masks.planes()[0], expected)
    # Half a pixel to the right the columns 1 and 2 read half of the first value: 0.5 is enough.
    moved = BoxMasks(corner, torch.tensor([[1.5, 1.0, 3.5, 3.0]]), (4, 4), SUB_PIXEL_PASTE)
    expected[1, 2] = 1
    assert torch.equal(moved.planes()[0], expected)
    above = BoxMasks(corner, moved.boxes, (4, 4), PasteRule(SubPixelPaste(threshold=0.51)))
    assert not above.planes().any()


def test_one_value_fills_its_half_open_box():
    boxes = torch.tensor([[1.0, 2.0, 4.0, 3.0], [0.4, 0.6, 2.6, 2.0]])
    masks = BoxMasks(torch.ones(2, 1, 1, 1), boxes, (5, 4), SUB_PIXEL_PASTE)
    expected = torch.zeros(2, 4, 5, dtype=torch.uint8)
    expected[0, 2, 1:4] = 1
    # Row 1 reads 0.857 of the height, the columns 0 to 2 read 0.545, 1 and 0.545 of the width.
    expected[1, 1, 1] = 1
    assert torch.equal(masks.planes(), expected)


@pytest.mark.parametrize("box", AWKWARD_BOXES.values(), ids=AWKWARD_BOXES.keys())
@pytest.mark.parametrize("side", [1, 3, 14])
def test_sub_pixel_pasting_agrees_with_the_loop(box, side):
    mask = blob_probabilities(1, side, seed=side)
    threshold = 0.3
    masks = BoxMasks(mask, torch.tensor([box]), SIZE, PasteRule(SubPixelPaste(threshold)))
    planes = masks.planes()
    has_extent = box[2] > box[0] and box[3] > box[1]
    expected = np.zeros(SIZE[::-1], dtype=np.uint8)
    if has_extent:
        # The mask's numbers are float32, those of the box are exact in both.
        exact_box = torch.tensor(box).tolist()
        expected = paste_pixel_by_pixel(mask[0, 0].tolist(), exact_box, SIZE, threshold)
    np.testing.assert_array_equal(planes[0], expected)
    assert masks.encode() == encode_planes(planes)
