import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.structures.mask_targets import (
    area_ratios,
    crop_and_rasterize,
    crop_and_rasterize_precisely,
    shoelace_ratios,
)
from maskrcnn_benchmark.structures.polygon_list import PolygonList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.factories import elliptic_masks, random_boxlist, rectangle
from tests.golden_data import golden_json, golden_npz
from tests.parity.reference import first_polygons

SIZE = (40, 30)
BOTH_MODES = pytest.mark.parametrize("mode", ["poly", "mask"])


def masks_of(polygons, mode="poly"):
    return SegmentationMask(polygons, SIZE).convert(mode)


@pytest.fixture
def golden():
    """Masks, boxes and the arrays of the reference."""
    arrays = golden_npz("ops")
    width, height = arrays["masktarget_image_wh"].tolist()
    masks = SegmentationMask(golden_json("ops")["masktarget_polygons"], (width, height))
    return masks, torch.from_numpy(arrays["masktarget_boxes"]), arrays


@pytest.mark.golden
def test_targets_of_the_original(golden):
    masks, boxes, arrays = golden
    targets = crop_and_rasterize(masks, boxes, 28)
    np.testing.assert_array_equal(targets.numpy(), arrays["masktarget_masks"])


@pytest.mark.golden
def test_ratios_of_the_original(golden):
    """upstream: all-polygons."""
    masks, boxes, arrays = golden
    ratios = area_ratios(first_polygons(masks), boxes)
    assert_close(ratios, torch.from_numpy(arrays["masktarget_ratios"]), rtol=1e-7, atol=0)
    num_polygons = torch.tensor([len(polygons) for polygons in masks.instances.polygons])
    changed = area_ratios(masks, boxes) != ratios
    assert changed.any()
    assert (num_polygons[changed] > 1).all()


@pytest.mark.golden
def test_bitmap_targets_are_near_those_of_polygons(golden):
    masks, boxes, _ = golden
    bitmaps = masks.convert("mask")
    from_polygons, from_bitmaps = (crop_and_rasterize(each, boxes, 28) for each in (masks, bitmaps))
    union = (from_polygons | from_bitmaps).sum(dim=(1, 2))
    assert ((from_polygons & from_bitmaps).sum(dim=(1, 2)) / union).min() > 0.93
    assert_close(area_ratios(bitmaps, boxes), area_ratios(masks, boxes), rtol=0, atol=0.03)


@BOTH_MODES
def test_a_target_is_the_scaled_crop(mode):
    masks = masks_of([[rectangle(10, 6, 20, 14)]], mode)
    (target,) = crop_and_rasterize(masks, torch.tensor([[10.0, 2.0, 26.0, 18.0]]), 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, :5] = True
    assert target.dtype == torch.bool
    assert_close(target, expected)


@BOTH_MODES
def test_a_box_may_leave_the_image(mode):
    masks = masks_of([[rectangle(0, 0, 40, 30)]], mode)
    (target,) = crop_and_rasterize(masks, torch.tensor([[-8.0, -4.0, 8.0, 12.0]]), 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:, 4:] = True
    # RoIAlign reads bitmaps up to one pixel beyond the border.
    assert_close(target[2:, 4:], expected[2:, 4:])
    assert not target[:1].any()
    assert not target[:, :3].any()


@BOTH_MODES
def test_a_box_is_at_least_a_pixel_wide(mode):
    masks = masks_of([[rectangle(10, 6, 20, 14)]] * 2, mode)
    boxes = torch.tensor([[12.0, 8.0, 12.0, 8.0], [12.0, 8.0, 11.0, 7.0]])
    assert crop_and_rasterize(masks, boxes, 4).all()


@BOTH_MODES
def test_a_box_beside_the_instance_is_empty(mode):
    masks = masks_of([[rectangle(0, 0, 5, 5)]], mode)
    boxes = torch.tensor([[20.0, 20.0, 30.0, 28.0]])
    assert not crop_and_rasterize(masks, boxes, 14).any()
    # One pixel of twenty-five, not zero: one divides by it.
    assert_close(area_ratios(masks, boxes), torch.tensor([1 / 25]))


@BOTH_MODES
def test_ratio_is_the_share_in_the_box(mode):
    masks = masks_of([[rectangle(10, 10, 20, 20)], [rectangle(10, 10, 20, 20)]], mode)
    boxes = torch.tensor([[10.0, 10.0, 15.0, 20.0], [5.0, 5.0, 25.0, 25.0]])
    assert_close(area_ratios(masks, boxes), torch.tensor([0.5, 1.0]))


@BOTH_MODES
def test_every_polygon_counts(mode):
    """upstream: all-polygons."""
    masks = masks_of([[rectangle(0, 0, 4, 4), rectangle(20, 0, 24, 4)]], mode)
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    assert_close(area_ratios(masks, boxes), torch.tensor([0.5]))


def test_overlapping_polygons_count_once():
    masks = masks_of([[rectangle(0, 0, 8, 8), rectangle(0, 0, 8, 8), rectangle(20, 0, 28, 8)]])
    assert_close(area_ratios(masks, torch.tensor([[0.0, 0.0, 10.0, 10.0]])), torch.tensor([0.5]))


@BOTH_MODES
def test_an_empty_instance(mode):
    masks = SegmentationMask(torch.zeros(1, 30, 40), SIZE, mode)
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    assert not crop_and_rasterize(masks, boxes, 14).any()
    assert_close(area_ratios(masks, boxes), torch.tensor([1.0]))


@BOTH_MODES
def test_no_instances(mode):
    masks = SegmentationMask([], SIZE, mode)
    assert crop_and_rasterize(masks, torch.zeros(0, 4), 28).shape == (0, 28, 28)
    assert area_ratios(masks, torch.zeros(0, 4)).shape == (0,)


@BOTH_MODES
def test_one_box_a_mask(mode):
    masks = masks_of([[rectangle(0, 0, 4, 4)]], mode)
    for function in (lambda boxes: crop_and_rasterize(masks, boxes, 28),
                     lambda boxes: area_ratios(masks, boxes)):  # fmt: skip
        with pytest.raises(ValueError, match=r"boxes .*\(1, 4\).*\(2, 4\)"):
            function(torch.zeros(2, 4))


@BOTH_MODES
def test_boxes_keep_their_order_and_pass_no_gradient(mode):
    boxes = random_boxlist(6, SIZE)
    masks = elliptic_masks(boxes).convert(mode)
    corners = boxes.bbox.requires_grad_()
    targets, ratios = crop_and_rasterize(masks, corners, 14), area_ratios(masks, corners)
    assert not ratios.requires_grad
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_close(crop_and_rasterize(masks[order], corners[order], 14), targets[order])
    assert_close(area_ratios(masks[order], corners[order]), ratios[order])


def test_targets_agree_with_the_rasteriser_one_by_one():
    boxes = random_boxlist(20, SIZE, seed=3)
    masks = elliptic_masks(boxes)
    targets = crop_and_rasterize(masks, boxes.bbox, 28)
    for mask, box, target in zip(masks, boxes.bbox, targets, strict=True):
        ((points,),) = mask.crop(box).resize((28, 28)).instances.polygons
        rle = mask_utils.merge(mask_utils.frPyObjects([points.ravel().tolist()], 28, 28))
        assert (mask_utils.decode(rle) != target.numpy()).sum() <= 1


def draw_polygons(count):
    """Triangles whose corners have one decimal, so that many lie on halves of COCO's raster."""
    generator = np.random.default_rng(0)
    return [[(generator.integers(0, 400, 6) / 10).tolist()] for _ in range(count)]


def test_polygons_of_double_precision_are_rasterised_in_it():
    outlines, size = draw_polygons(60), (60, 50)
    boxes = torch.tensor([[2.0, 1.0, 46.0, 45.0]]).repeat(len(outlines), 1)
    exact = PolygonList(outlines, (40, 40), np.float64).resize(size)
    found = crop_and_rasterize_precisely(SegmentationMask(exact, size), boxes, 11)
    for mask, (polygon,) in zip(found.numpy(), outlines, strict=True):
        points = np.array(polygon).reshape(-1, 2) * (60 / 40, 50 / 40)
        moved = ((points - (2, 1)) * (11 / 44)).ravel().tolist()
        expected = mask_utils.decode(mask_utils.frPyObjects([moved], 11, 11))[..., 0]
        np.testing.assert_array_equal(mask, expected)
    rounded = SegmentationMask(PolygonList(outlines, (40, 40)).resize(size), size)
    in_single = crop_and_rasterize(rounded, boxes, 11)
    assert 0 < (in_single != found).sum() < 0.01 * found.numel()


@pytest.mark.parametrize("count", [0, 3])
def test_bitmaps_have_one_precision(count):
    masks = SegmentationMask(torch.ones(count, 8, 8, dtype=torch.bool), (8, 8), mode="mask")
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(count, 1)
    found = crop_and_rasterize_precisely(masks, boxes, 5)
    assert torch.equal(found, crop_and_rasterize(masks, boxes, 5))
    polygons = masks.convert("poly")
    assert crop_and_rasterize_precisely(polygons, boxes, 5).shape == (count, 5, 5)


def test_the_least_side_of_a_crop_is_a_matter_of_rules():
    masks = masks_of([[rectangle(5.0, 5.0, 5.25, 15.0)]])
    boxes = torch.tensor([[5.0, 5.0, 5.5, 15.0]])
    by_rule = {side: crop_and_rasterize(masks, boxes, 4, min_side=side) for side in (1.0, 0.1)}
    # A quarter of a px is a quarter of a crop of 1 px, and half of one of 0.5 px.
    assert by_rule[1.0][0, 0].tolist() == [True, False, False, False]
    assert by_rule[0.1][0, 0].tolist() == [True, True, False, False]


def test_shares_by_the_areas_of_polygons():
    ten = rectangle(0.0, 0.0, 10.0, 10.0)
    instances = [[ten], [ten], [ten, ten], [ten], [ten]]
    boxes = torch.tensor(
        [
            [0.0, 0.0, 5.0, 10.0],
            [-5.0, -5.0, 20.0, 20.0],
            [0.0, 0.0, 5.0, 10.0],
            [5.0, 5.0, 5.5, 9.0],
            [20.0, 20.0, 30.0, 30.0],
        ]
    )
    ratios = shoelace_ratios(masks_of(instances), boxes)
    assert_close(ratios, torch.tensor([0.5, 1.0, 0.5, 1e-10, 1e-10]))
    assert len(shoelace_ratios(masks_of([]), boxes[:0])) == 0


def test_shares_are_those_of_pycocotools():
    boxes = random_boxlist(6, SIZE)
    masks = elliptic_masks(random_boxlist(6, SIZE, seed=1))
    for ratio, polygons, box in zip(
        shoelace_ratios(masks, boxes.bbox),
        masks.instances.polygons,
        boxes.bbox.numpy(),
        strict=True,
    ):
        width, height = (box[2:] - box[:2]).astype(int).tolist()
        moved = [(points - box[:2]).ravel().tolist() for points in polygons]
        inside = mask_utils.area(mask_utils.frPyObjects(moved, height, width)).sum()
        x, y = polygons[0].astype(np.float64).T
        area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        assert ratio.item() == pytest.approx(max(min(inside / area, 1), 1e-10), rel=1e-5)
