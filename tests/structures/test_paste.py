import tracemalloc

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
import torch.nn.functional as F

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste import (
    encode_masks,
    paste_mask_in_box,
    paste_masks,
    resize_detections,
)
from tests.factories import blob_probabilities, random_boxes
from tests.golden_data import golden_npz

SIZE = (60, 40)
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
    stack = np.asfortranarray(planes[:, 0].permute(1, 2, 0).numpy())
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
    planes = paste_masks(masks, boxes)
    expected = np.unpackbits(golden["paste_out"])[: planes.numel()].reshape(planes.shape)
    np.testing.assert_array_equal(planes.numpy(), expected)
    assert encode_masks(masks, boxes) == encode_planes(planes)


@pytest.mark.parametrize("box", AWKWARD_BOXES.values(), ids=AWKWARD_BOXES.keys())
@pytest.mark.parametrize("kind", ["blob", "full", "empty"])
def test_paste_agrees_with_the_full_resize(box, kind):
    mask = {
        "blob": blob_probabilities(1, 14),
        "full": torch.ones(1, 1, 14, 14),
        "empty": torch.zeros(1, 1, 14, 14),
    }[kind]
    boxes = BoxList([box], SIZE)
    planes = paste_masks(mask, boxes)
    expected = paste_by_full_resize(mask[0, 0], boxes.bbox[0].numpy(), SIZE)
    np.testing.assert_array_equal(planes[0, 0], expected)
    assert encode_masks(mask, boxes) == encode_planes(planes)


@pytest.mark.parametrize(("threshold", "padding"), [(0.3, 1), (0.5, 0), (0.7, 3)])
def test_threshold_and_padding(threshold, padding):
    masks = blob_probabilities(4, 14)
    boxes = BoxList(random_boxes(4, SIZE) * 1.3 - 6, SIZE)
    planes = paste_masks(masks, boxes, threshold, padding)
    for mask, box, plane in zip(masks, boxes.bbox, planes, strict=True):
        expected = paste_by_full_resize(mask[0], box.numpy(), SIZE, threshold, padding)
        np.testing.assert_array_equal(plane[0], expected)
    assert encode_masks(masks, boxes, threshold, padding) == encode_planes(planes)


def test_encoding_of_many_masks_agrees_with_whole_planes():
    masks = blob_probabilities(200, 28)
    corners = random_boxes(200, (160, 120)) * 1.5 - 30
    for boxes in (BoxList(corners, (160, 120)), BoxList(corners, (160, 120)).convert("xywh")):
        planes = paste_masks(masks, boxes)
        rles = encode_masks(masks, boxes)
        assert rles == encode_planes(planes)
        assert [mask_utils.area(rle) for rle in rles] == planes.sum(dim=(1, 2, 3)).tolist()


def test_runs_join_over_columns():
    boxes = BoxList([[1.0, 0.0, 2.0, 2.0]], (4, 3))
    (rle,) = encode_masks(torch.ones(1, 1, 4, 4), boxes, padding=0)
    decoded = mask_utils.decode(rle)
    np.testing.assert_array_equal(decoded, [[0, 1, 1, 0]] * 3)
    assert rle["counts"] == mask_utils.encode(np.asfortranarray(decoded))["counts"].decode()


def test_a_single_paste_is_the_visible_part():
    mask = blob_probabilities(1, 14)[0, 0]
    box = torch.tensor([-15.0, 10.0, 12.0, 20.0])
    pasted = paste_mask_in_box(mask, box, SIZE)
    assert pasted.x0 == 0
    assert pasted.mask.dtype == np.uint8
    assert pasted.mask.flags.c_contiguous
    plane = np.zeros((40, 60), dtype=np.uint8)
    rows, columns = pasted.mask.shape
    assert columns < 20
    plane[pasted.y0 : pasted.y0 + rows, :columns] = pasted.mask
    np.testing.assert_array_equal(plane, paste_by_full_resize(mask, box.numpy(), SIZE))


def test_a_paste_outside_is_empty():
    outside = [80.0, 10.0, 99.0, 20.0]
    pasted = paste_mask_in_box(torch.ones(14, 14), torch.tensor(outside), SIZE)
    assert pasted.mask.size == 0
    rles = encode_masks(torch.ones(1, 1, 14, 14), BoxList([outside], SIZE))
    assert rles == encode_planes(torch.zeros(1, 1, 40, 60).byte())


def test_a_huge_box_costs_its_visible_part_only():
    mask = blob_probabilities(1, 28)
    boxes = BoxList([[-5e5, -5e5, 5e5, 5e5]], SIZE)
    tracemalloc.start()
    try:
        planes = paste_masks(mask, boxes)
        rles = encode_masks(mask, boxes)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1e6
    # So small a part of so large a mask has one value, the one at its centre.
    center = (mask[0, 0, 13:15, 13:15].mean() > 0.5).item()
    assert planes.eq(int(center)).all()
    assert rles == encode_planes(planes)


def test_even_larger_boxes():
    boxes = BoxList([[-1e20, -1e20, 1e20, 1e20], [1e20, 0.0, 2e20, 9.0]], SIZE)
    planes = paste_masks(torch.ones(2, 1, 28, 28), boxes)
    assert planes[0].all()
    assert not planes[1].any()


def test_a_large_box_agrees_with_the_full_resize():
    mask = blob_probabilities(1, 28)
    box = [-900.0, -700.0, 800.0, 1100.0]
    planes = paste_masks(mask, BoxList([box], SIZE))
    padded = F.pad(mask, (1,) * 4)
    # 1700 x 1800 about (-50, 200), times 30 / 28 and rounded towards zero.
    x1, y1, x2, y2 = -960, -764, 860, 1164
    shape = (y2 - y1 + 1, x2 - x1 + 1)
    resized = F.interpolate(padded, shape, mode="bilinear", align_corners=False)[0, 0] > 0.5
    expected = resized[-y1 : -y1 + 40, -x1 : -x1 + 60]
    np.testing.assert_array_equal(planes[0, 0], expected.numpy())


def test_no_masks():
    boxes = BoxList([], SIZE)
    assert paste_masks(torch.zeros(0, 1, 28, 28), boxes).shape == (0, 1, 40, 60)
    assert encode_masks(torch.zeros(0, 1, 28, 28), boxes) == []


def test_masks_of_half_precision_with_gradient():
    masks = blob_probabilities(1).half().requires_grad_()
    boxes = BoxList([AWKWARD_BOXES["inside"]], SIZE)
    planes = paste_masks(masks, boxes)
    assert planes.sum() > 0
    np.testing.assert_array_equal(planes, paste_masks(masks.detach().float(), boxes))


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 28, 28), (1, 2, 28, 28), (1, 1, 28, 14)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(1, 1, M, M\)"):
        paste_masks(torch.zeros(shape), BoxList([AWKWARD_BOXES["inside"]], SIZE))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_boxes_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="finite"):
        encode_masks(torch.zeros(1, 1, 28, 28), BoxList([[0.0, 0.0, value, 9.0]], SIZE))


def test_unthresholded_masks_agree_with_the_thresholded_ones():
    """Regression: a threshold below 0 filled the boxes with 1; it shows the probabilities."""
    masks = blob_probabilities(4, 14)
    boxes = BoxList(random_boxes(4, SIZE) * 1.3 - 6, SIZE)
    shown = paste_masks(masks, boxes, -1)
    assert shown.max() > 200
    for level in (0, 100, 200):
        # Pixels of exactly level + 1 may fall either way when they are rounded to float32.
        thresholded = paste_masks(masks, boxes, (level + 1) / 255).bool()
        np.testing.assert_array_equal(thresholded & (shown != level + 1), shown > level + 1)


def test_unthresholded_masks_have_no_run_lengths():
    with pytest.raises(ValueError, match=r"threshold must be at least 0 .* not -1"):
        encode_masks(torch.zeros(0, 1, 28, 28), BoxList([], SIZE), threshold=-1)


def test_detections_in_a_resized_image_take_their_pasted_masks_along():
    boxes = BoxList([[2.0, 1.0, 5.0, 6.0]], (10, 8))
    boxes.add_field("mask", torch.ones(1, 1, 28, 28))
    inside = resize_detections(boxes, (20, 24))
    assert inside.get_field("mask").shape == (1, 1, 28, 28)
    whole = boxes.copy_with_fields([])
    plane = torch.zeros(1, 1, 8, 10, dtype=torch.uint8)
    plane[..., 1:7, 2:6] = 1
    whole.add_field("mask", plane)
    resized = resize_detections(whole, (20, 24))
    expected = plane.repeat_interleave(2, dim=3).repeat_interleave(3, dim=2)
    differs = resized.get_field("mask") != expected
    assert differs.sum() <= 4 * 2  # bilinear resizing rounds corners
    assert not differs[..., 4:20, 5:11].any()
    assert torch.equal(resized.bbox, inside.bbox)
    assert resize_detections(whole, (10, 8)).get_field("mask") is plane


def test_detections_without_masks_are_only_resized():
    empty = resize_detections(BoxList(torch.zeros(0, 4), (10, 8)), (20, 16))
    assert (empty.size, empty.fields()) == ((20, 16), [])
