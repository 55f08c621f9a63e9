"""What scripts written for the original do with boxes, masks and batches."""

import copy
import pickle

import pytest
import torch

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
)
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_iou,
    boxlist_ml_nms,
    boxlist_nms,
    cat_boxlist,
    remove_small_boxes,
)
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

TRIANGLE, SQUARE = [1, 1, 8, 1, 8, 8], [0, 0, 5, 0, 5, 5, 0, 5]


@pytest.fixture
def boxes():
    found = BoxList(torch.tensor([[0, 0, 9, 9], [0, 0, 4, 4], [0, 0, 9, 8]]), (10, 10))
    found.add_field("labels", torch.tensor([1, 1, 2]))
    found.add_field("scores", torch.tensor([0.9, 0.8, 0.7]))
    return found


def test_boxes_are_made_of_whatever_holds_four_numbers_a_box():
    for none in ([], torch.zeros(0, 4)):
        assert BoxList(none, (5, 4)).bbox.shape == (0, 4)
    boxes = BoxList([[1, 2, 3, 4]], [5, 4], "xyxy")
    assert boxes.bbox.dtype == torch.float32
    assert tuple(boxes.size) == (5, 4)
    assert BoxList(bbox=boxes.bbox, image_size=(5, 4), mode="xywh").mode == "xywh"
    for unfit in ([1, 2, 3, 4], [[1, 2, 3]]):
        with pytest.raises(ValueError, match="bbox"):
            BoxList(unfit, (5, 4))


def test_boxes_are_chosen_by_masks_indices_and_slices(boxes):
    confident = torch.nonzero(boxes.get_field("scores") > 0.75).squeeze(1)
    assert boxes[confident].get_field("labels").tolist() == [1, 1]
    _, order = boxes.get_field("scores").sort(0, descending=False)
    assert boxes[order].get_field("labels").tolist() == [2, 1, 1]
    assert len(boxes[boxes.get_field("labels") == 2]) == len(boxes[2:]) == len(boxes[[2]]) == 1


def test_fields_are_copied_by_one_name_or_several(boxes):
    assert boxes.copy_with_fields("labels").fields() == ["labels"]
    assert boxes.copy_with_fields(["scores", "labels"]).fields() == ["scores", "labels"]
    assert boxes.copy_with_fields(["masks", "labels"], skip_missing=True).fields() == ["labels"]
    with pytest.raises(KeyError):
        boxes.copy_with_fields(["masks"])
    with pytest.raises(KeyError):
        boxes.get_field("masks")


def test_attributes_can_be_assigned(boxes):
    boxes.bbox = boxes.bbox * 2
    boxes.size = (20, 20)
    assert boxes.clip_to_image(False).bbox[0].tolist() == [0, 0, 18, 18]


def test_boxes_survive_copies_and_files(boxes):
    for copied in (copy.deepcopy(boxes), pickle.loads(pickle.dumps(boxes)), boxes.to("cpu")):
        assert torch.equal(copied.bbox, boxes.bbox)
        assert copied.get_field("labels").tolist() == [1, 1, 2]


def test_flips_are_known_by_their_names(boxes):
    assert (FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM) == (0, 1)
    assert boxes.transpose(FLIP_LEFT_RIGHT).bbox[1].tolist() == [5, 0, 9, 4]
    assert boxes.transpose(FLIP_TOP_BOTTOM).bbox[1].tolist() == [0, 5, 4, 9]


def test_operations_take_their_arguments_by_place_and_by_name(boxes):
    assert len(boxlist_nms(boxes, 0.5)) == 2
    assert len(boxlist_nms(boxes, 0.5, max_proposals=1, score_field="scores")) == 1
    assert len(boxlist_ml_nms(boxes, 0.2)) == 2
    assert len(boxlist_ml_nms(boxes, 0.2, -1, "scores", "labels")) == 2
    assert len(remove_small_boxes(boxes, min_size=6)) == 2
    assert boxlist_iou(boxes, boxes).diagonal().tolist() == [1, 1, 1]
    assert cat_boxlist([boxes, boxes]).get_field("labels").tolist() == [1, 1, 2, 1, 1, 2]


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_masks_are_cut_out_for_a_mask_head(mode):
    masks = SegmentationMask([[TRIANGLE], [SQUARE]], (10, 10)).convert(mode)
    assert len(masks) == len(list(masks)) == 2
    assert masks.get_mask_tensor().shape == (2, 10, 10)
    for mask, box in zip(masks, torch.tensor([[1.0, 1, 8, 8], [0, 0, 5, 5]]), strict=True):
        target = mask.crop(box).resize((14, 14)).get_mask_tensor()
        assert target.shape == (14, 14)
        assert torch.equal(target, mask.crop(box).resize(14).get_mask_tensor())
    assert target.float().mean() == 1


@pytest.mark.parametrize("mode", ["poly", "mask"])
def test_masks_are_chosen_and_moved(mode):
    masks = SegmentationMask([[TRIANGLE], [SQUARE]], (10, 10), mode="poly").convert(mode)
    second = masks[1].get_mask_tensor()
    for item in ([1], torch.tensor([1]), torch.tensor([False, True]), slice(1, 2)):
        assert torch.equal(masks[item].get_mask_tensor(), second)
    for moved in (masks.to("cpu"), masks.to("cpu", non_blocking=True)):
        assert torch.equal(moved.get_mask_tensor(), masks.get_mask_tensor())
    assert masks.size == (10, 10)
    assert masks.mode == mode


def test_bitmaps_come_as_one_tensor_or_several():
    bitmaps = torch.zeros(2, 6, 8, dtype=torch.uint8)
    bitmaps[1, 2:4, 3:7] = 1
    for instances in (bitmaps, list(bitmaps)):
        masks = SegmentationMask(instances, (8, 6), "mask")
        assert torch.equal(masks.get_mask_tensor(), bitmaps)


def test_images_become_a_padded_batch():
    batch = to_image_list([torch.ones(3, 4, 5), torch.ones(3, 6, 3)], 8).to("cpu")
    assert batch.tensors.shape == (2, 3, 8, 8)
    assert [tuple(size) for size in batch.image_sizes] == [(4, 5), (6, 3)]
    assert batch.tensors[0].sum() == 3 * 4 * 5
    assert to_image_list(batch) is batch
    assert to_image_list(torch.ones(3, 4, 5)).tensors.shape == (1, 3, 4, 5)
    made = ImageList(torch.ones(1, 3, 4, 5), [torch.Size((4, 5))])
    assert len(made.image_sizes) == 1
