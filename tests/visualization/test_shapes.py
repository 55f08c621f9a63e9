import numpy as np
import torch
from PIL import Image

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.visualization.draw import draw_instances, instance_shapes
from tests.factories import blob_probabilities, elliptic_masks, masks_in, random_boxlist
from tests.structures.prototype_masks import filled_boxes


def on_plane(shape, size_wh):
    plane = np.zeros(size_wh[::-1], dtype=np.uint8)
    height, width = shape.mask.shape
    plane[shape.y0 : shape.y0 + height, shape.x0 : shape.x0 + width] = shape.mask
    return plane


def test_predicted_shapes_are_the_pasted_masks():
    boxes = random_boxlist(5)
    probabilities = blob_probabilities(5)
    boxes.add_field("mask", probabilities)
    planes = masks_in(boxes, probabilities).planes().numpy()
    for shape, plane in zip(instance_shapes(boxes), planes, strict=True):
        np.testing.assert_array_equal(on_plane(shape, boxes.size), plane)


def test_probabilities_are_no_plane_of_an_image_that_is_as_small():
    boxes = BoxList([[7.0, 7.0, 20.0, 20.0]], (28, 28))
    boxes.add_field("mask", torch.ones(1, 1, 28, 28))
    (shape,) = instance_shapes(boxes)
    assert max(shape.mask.shape) <= 16


def test_masks_of_a_kind_of_ones_own_are_drawn():
    boxes = BoxList([[10.0, 5.0, 39.0, 24.0]], (60, 40))
    boxes.add_field("labels", torch.ones(1).long())
    filled = boxes.copy_with_fields("labels")
    filled.add_field("mask", filled_boxes(boxes))
    (shape,) = instance_shapes(filled)
    assert (shape.x0, shape.y0, shape.mask.shape, shape.mask.all()) == (10, 5, (20, 30), True)
    photo = Image.new("RGB", (60, 40))
    plain, painted = (np.asarray(draw_instances(photo, one, {})) for one in (boxes, filled))
    assert not plain[14, 24].any()
    assert painted[14, 24].any()


def test_ground_truth_shapes_are_the_rasterised_polygons():
    boxes = random_boxlist(5)
    boxes.add_field("masks", elliptic_masks(boxes))
    planes = boxes.get_field("masks").to_bitmasks().numpy()
    for shape, plane in zip(instance_shapes(boxes), planes, strict=True):
        np.testing.assert_array_equal(on_plane(shape, boxes.size), plane)
        if shape.mask.size:
            assert shape.mask[0].any()
            assert shape.mask[:, -1].any()


def test_an_empty_mask_is_an_empty_crop():
    boxes = BoxList([[0, 0, 9, 9]], (20, 10))
    boxes.add_field("masks", SegmentationMask(torch.zeros(1, 10, 20), (20, 10), mode="mask"))
    (shape,) = instance_shapes(boxes)
    assert shape.mask.size == 0


def test_boxes_without_masks_have_no_shapes():
    assert instance_shapes(random_boxlist(2)) == [None, None]


def test_no_instances_have_no_shapes():
    empty = random_boxlist(0)
    assert instance_shapes(empty) == []
    empty.add_field("mask", torch.zeros(0, 1, 28, 28))
    assert instance_shapes(empty) == []
