"""Boxes whose corners are edges (``pixel_offset`` 0), by hand."""

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.layers import batched_nms
from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_iou,
    boxlist_ml_nms,
    boxlist_nms,
    cat_boxlist,
)
from maskrcnn_benchmark.structures.paste_rules import LEGACY_PASTE, SUB_PIXEL_PASTE
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


def edges(*boxes, size=(10, 8), mode="xyxy"):
    return BoxList(torch.tensor(boxes).reshape(-1, 4), size, mode, pixel_offset=0)


def test_a_width_is_the_distance_of_the_edges():
    boxes = edges([2.0, 3.0, 6.0, 4.0])
    assert boxes.area().tolist() == [4.0]
    assert boxes.convert("xywh").bbox.tolist() == [[2.0, 3.0, 4.0, 1.0]]
    assert_close(boxes.convert("xywh").convert("xyxy").bbox, boxes.bbox)
    assert BoxList(boxes.bbox, boxes.size).area().tolist() == [10.0]


def test_what_is_made_of_boxes_has_their_offset():
    boxes = edges([2.0, 3.0, 6.0, 4.0])
    made = (
        *(boxes[:0], boxes.resize((20, 8)), boxes.crop([0, 0, 5, 5]), boxes.to("cpu")),
        *(boxes.copy_with_fields([]), cat_boxlist([boxes, boxes]), boxes.convert("xywh")),
    )
    assert {one.pixel_offset for one in made} == {0}


def test_a_flip_is_about_the_middle_of_the_image():
    assert edges([2.0, 3.0, 6.0, 4.0]).transpose(FLIP_LEFT_RIGHT).bbox.tolist() == [[4, 3, 8, 4]]


def test_clipping_goes_to_the_far_edge_and_drops_what_has_no_extent():
    boxes = edges([-1.0, 2.0, 12.0, 9.0], [10.0, 0.0, 12.0, 3.0])
    expected = [[0.0, 2.0, 10.0, 8.0], [10.0, 0.0, 10.0, 3.0]]
    assert boxes.clip_to_image(remove_empty=False).bbox.tolist() == expected
    assert boxes.clip_to_image().bbox.tolist() == expected[:1]


def test_the_same_areas_by_the_other_offset():
    boxes = edges([2.0, 3.0, 6.0, 4.0])
    boxes.add_field("labels", torch.tensor([7]))
    pixels = boxes.with_pixel_offset(1)
    assert pixels.bbox.tolist() == [[2.0, 3.0, 5.0, 3.0]]
    assert pixels.pixel_offset == 1
    assert pixels.labels.tolist() == [7]
    assert pixels.area().tolist() == boxes.area().tolist()
    assert pixels.with_pixel_offset(0).bbox.tolist() == boxes.bbox.tolist()


def test_overlap_by_hand():
    first, second = edges([0.0, 0.0, 4.0, 4.0]), edges([2.0, 0.0, 6.0, 4.0])
    assert boxlist_iou(first, second).item() == pytest.approx(8 / 24)
    assert boxlist_iou(edges([4.0, 0.0, 6.0, 4.0]), first).item() == 0


def test_boxes_of_two_offsets_do_not_mix():
    inclusive = BoxList([[0.0, 0.0, 4.0, 4.0]], (10, 8))
    with pytest.raises(ValueError, match="offset"):
        boxlist_iou(inclusive, edges([0.0, 0.0, 4.0, 4.0]))
    with pytest.raises(ValueError, match="offset"):
        cat_boxlist([inclusive, edges([0.0, 0.0, 4.0, 4.0])])


@pytest.mark.parametrize(("threshold", "kept"), [(0.32, 1), (0.34, 2)])
def test_suppression_by_hand(threshold, kept):
    boxes = edges([0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0])  # IoU 1/3; inclusive 15/35
    boxes.add_field("scores", torch.tensor([0.9, 0.8]))
    boxes.add_field("labels", torch.tensor([1, 1]))
    assert len(boxlist_nms(boxes, threshold)) == len(boxlist_ml_nms(boxes, threshold)) == kept
    labels = boxes.labels
    assert len(batched_nms(boxes.bbox, boxes.scores, labels, threshold)) == kept


def test_boxes_without_extent_suppress_nothing():
    boxes = edges([300.3, 2.1, 300.3, 5.7], [300.3, 2.1, 300.3, 5.7], size=(400, 400))
    boxes.add_field("scores", torch.tensor([0.9, 0.8]))
    assert len(boxlist_nms(boxes, 0.6)) == 2


def test_masks_inside_are_pasted_at_the_centres_of_pixels():
    boxes = edges([1.0, 1.0, 3.0, 4.0], size=(5, 5))
    probabilities = torch.ones(1, 1, 2, 2)
    boxes.add_field("mask", probabilities)
    expected = torch.zeros(5, 5, dtype=torch.uint8)
    expected[1:4, 1:3] = 1
    assert torch.equal(boxes.predicted_masks.planes()[0], expected)
    assert boxes.predicted_masks.rule == SUB_PIXEL_PASTE
    assert boxes.get_field("mask") is probabilities
    inclusive = BoxList(boxes.bbox, boxes.size)
    inclusive.add_field("mask", probabilities)
    assert inclusive.predicted_masks.rule == LEGACY_PASTE
    assert inclusive.get_field("mask") is probabilities


def test_polygons_turn_with_the_boxes():
    boxes = edges([2.0, 3.0, 6.0, 4.0])
    outline = [[2.0, 3.0, 6.0, 3.0, 6.0, 4.0, 2.0, 4.0]]
    boxes.add_field("masks", SegmentationMask([outline], boxes.size))
    flipped = boxes.transpose(FLIP_LEFT_RIGHT)
    points = flipped.get_field("masks").instances.polygons[0][0]
    assert [points[:, 0].min(), points[:, 0].max()] == flipped.bbox[0, ::2].tolist()
