import pickle

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
)
from tests.factories import random_boxlist, target_with_masks
from tests.golden_data import golden_npz

BOXES = [[10.0, 20.0, 19.0, 39.0], [0.0, 0.0, 99.0, 49.0]]


def boxlist(mode="xyxy"):
    return BoxList(BOXES, (100, 50), mode)


@pytest.fixture
def golden():
    return {key: torch.from_numpy(value) for key, value in golden_npz("ops").items()}


def golden_boxes(golden):
    return BoxList(golden["iou_a"], (400, 300))


def test_attributes():
    boxes = boxlist()
    assert boxes.bbox.dtype == torch.float32
    assert boxes.size == (100, 50)
    assert boxes.mode == "xyxy"
    assert len(boxes) == 2
    assert repr(boxes) == (
        "BoxList(num_boxes=2, image_width=100, image_height=50, mode=xyxy, fields=[])"
    )


@pytest.mark.parametrize("bbox", [[], torch.zeros(0, 4), np.zeros((0, 4))])
def test_empty_input_is_zero_boxes(bbox):
    assert BoxList(bbox, (10, 10)).bbox.shape == (0, 4)


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 4), (5, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(K, 4\)"):
        BoxList(torch.zeros(shape), (10, 10))


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match="'xyhw'"):
        BoxList(torch.zeros(1, 4), (10, 10), mode="xyhw")
    with pytest.raises(ValueError, match="'xyhw'"):
        boxlist().convert("xyhw")


def test_fields():
    boxes = boxlist()
    boxes.add_field("labels", torch.tensor([1, 2]))
    boxes.add_field("scores", torch.tensor([0.5, 0.25]))
    boxes.add_field("names", ["cat", "dog"])
    assert boxes.fields() == ["labels", "scores", "names"]
    assert boxes.labels.tolist() == [1, 2]
    assert boxes.scores.tolist() == [0.5, 0.25]
    assert boxes.has_field("names")
    assert not boxes.has_field("masks")
    assert dict(boxes.extra_fields)["names"] == ["cat", "dog"]
    with pytest.raises(TypeError):
        boxes.extra_fields["labels"] = None


def test_a_missing_field_is_named_with_those_present():
    boxes = random_boxlist(2)
    with pytest.raises(KeyError, match=r"'masks'.*labels.*scores"):
        boxes.get_field("masks")


@pytest.mark.parametrize("data", [torch.zeros(3), torch.zeros(1, 2), [1], torch.tensor(1.0)])
def test_a_field_has_one_entry_a_box(data):
    with pytest.raises(ValueError, match="labels"):
        boxlist().add_field("labels", data)


@pytest.mark.parametrize("data", [None, 3, torch.tensor(1.0), np.float32(2), iter([1, 2])])
def test_a_field_without_a_length_is_named(data):
    """Regression: a bare TypeError said neither which field nor what was expected."""
    with pytest.raises(ValueError, match="'labels'"):
        boxlist().add_field("labels", data)


def test_convert_counts_the_last_pixel():
    converted = boxlist().convert("xywh")
    assert converted.bbox.tolist() == [[10, 20, 10, 20], [0, 0, 100, 50]]
    assert converted.convert("xyxy").bbox.tolist() == BOXES


def test_convert_of_an_empty_box_stays_at_its_corner():
    assert BoxList([[3.0, 4.0, 0.0, 0.0]], (9, 9), "xywh").convert("xyxy").bbox.tolist() == [
        [3, 4, 3, 4]
    ]


def test_area_counts_the_last_pixel_in_both_modes():
    assert boxlist().area().tolist() == [200, 5000]
    assert boxlist().convert("xywh").area().tolist() == [200, 5000]


def test_resize_multiplies_every_coordinate():
    resized = boxlist().resize((200, 25))
    assert resized.size == (200, 25)
    assert resized.bbox.tolist() == [[20, 10, 38, 19.5], [0, 0, 198, 24.5]]


@pytest.mark.parametrize("mode", ["xyxy", "xywh"])
def test_flips_map_pixels_to_pixels(mode):
    left_right = boxlist().convert(mode).transpose(FLIP_LEFT_RIGHT)
    assert left_right.mode == mode
    assert left_right.convert("xyxy").bbox.tolist() == [[80, 20, 89, 39], [0, 0, 99, 49]]
    top_bottom = boxlist().convert(mode).transpose(FLIP_TOP_BOTTOM)
    assert top_bottom.convert("xyxy").bbox.tolist() == [[10, 10, 19, 29], [0, 0, 99, 49]]
    diagonal = boxlist().convert(mode).transpose(FLIP_DIAGONAL)
    assert diagonal.convert("xyxy").bbox.tolist() == [[20, 10, 39, 19], [0, 0, 49, 99]]
    assert diagonal.size == (50, 100)


@pytest.mark.parametrize("method", [FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, FLIP_DIAGONAL])
def test_flipping_twice_changes_nothing(method):
    boxes = random_boxlist(20)
    assert_close(boxes.transpose(method).transpose(method).bbox, boxes.bbox)


def test_another_flip_is_refused():
    with pytest.raises(ValueError, match=r"FLIP_TOP_BOTTOM.*\b2\b"):
        boxlist().transpose(2)


def test_crop_moves_and_clips():
    cropped = boxlist().crop((5, 10, 25, 30))
    assert cropped.size == (20, 20)
    assert cropped.bbox.tolist() == [[5, 10, 14, 20], [0, 0, 20, 20]]
    assert boxlist().convert("xywh").crop((5, 10, 25, 30)).bbox.tolist() == [
        [5, 10, 10, 11],
        [0, 0, 21, 21],
    ]


def test_clip_to_image_returns_a_new_list():
    boxes = BoxList([[-5.0, 3.0, 200.0, 60.0], [120.0, 0.0, 130.0, 9.0]], (100, 50))
    boxes.add_field("labels", torch.tensor([1, 2]))
    clipped = boxes.clip_to_image(remove_empty=False)
    assert clipped.bbox.tolist() == [[0, 3, 99, 49], [99, 0, 99, 9]]
    assert boxes.bbox[0, 0] == -5
    kept = boxes.clip_to_image()
    assert kept.labels.tolist() == [1]
    assert kept.bbox.tolist() == [[0, 3, 99, 49]]


def test_fields_with_geometry_follow():
    target = target_with_masks(3, (120, 90))
    for changed in (
        target.resize((60, 30)),
        target.transpose(FLIP_LEFT_RIGHT),
        target.crop((0, 0, 50, 40)),
    ):
        assert changed.get_field("masks").size == changed.size
        assert changed.labels.equal(target.labels)
        assert (
            not changed.get_field("masks")
            .to_bitmasks()
            .equal(target.get_field("masks").to_bitmasks())
        )


def test_with_field_leaves_the_boxes_as_they_were():
    boxes = boxlist()
    more = boxes.with_field("labels", torch.arange(len(boxes)))
    assert not boxes.has_field("labels")
    assert more.fields() == [*boxes.fields(), "labels"]
    assert torch.equal(more.bbox, boxes.bbox)


def test_copy_with_fields():
    boxes = random_boxlist(2)
    assert boxes.copy_with_fields("labels").fields() == ["labels"]
    assert boxes.copy_with_fields(["scores", "labels"]).fields() == ["scores", "labels"]
    assert boxes.copy_with_fields(["labels", "masks"], skip_missing=True).fields() == ["labels"]
    with pytest.raises(KeyError, match="'masks'"):
        boxes.copy_with_fields("masks")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (1, [1]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        (torch.tensor([3, 0, 3]), [3, 0, 3]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (np.array([2, 1]), [2, 1]),
        ([0, 2], [0, 2]),
        ([], []),
        (torch.tensor(2), [2]),
    ],
)
def test_indexing(item, expected):
    target = target_with_masks(4)
    target.add_field("index", torch.arange(4))
    selected = target[item]
    assert selected.get_field("index").tolist() == expected
    assert_close(selected.bbox, target.bbox[expected])
    assert len(selected.get_field("masks")) == len(expected)


def test_iteration_gives_single_boxes():
    boxes = random_boxlist(3)
    assert [each.scores.item() for each in boxes] == boxes.scores.tolist()


def test_changes_leave_the_original_alone():
    target = target_with_masks(3)
    before = pickle.dumps(target)
    target.resize((5, 5))
    target.transpose(FLIP_LEFT_RIGHT)
    target.crop((3, 3, 9, 9))
    target.clip_to_image()
    target.convert("xywh")
    target.copy_with_fields("labels").add_field("more", torch.zeros(3))
    assert pickle.dumps(target) == before


def test_zero_boxes_take_the_same_paths():
    target = target_with_masks(0)
    for empty in (
        target.resize((5, 5)),
        target.transpose(FLIP_TOP_BOTTOM),
        target.crop((3, 3, 9, 9)),
        target.clip_to_image(),
        target.convert("xywh").convert("xyxy"),
        target[torch.zeros(0, dtype=torch.bool)],
        target.to("cpu"),
    ):
        assert empty.bbox.shape == (0, 4)
        assert len(empty.get_field("masks")) == 0
        assert empty.area().shape == (0,)


def test_to_moves_what_can_move():
    boxes = random_boxlist(2)
    boxes.add_field("names", ["cat", "dog"])
    moved = boxes.to("meta")
    assert moved.bbox.device.type == moved.scores.device.type == "meta"
    assert moved.get_field("names") == ["cat", "dog"]


@pytest.mark.golden
def test_geometry_of_the_original(golden):
    boxes = golden_boxes(golden)
    assert_close(boxes.convert("xywh").bbox, golden["boxlist_xywh"], rtol=0, atol=0)
    assert_close(boxes.area(), golden["boxlist_area"], rtol=1e-6, atol=0)
    assert_close(boxes.resize((200, 290)).bbox, golden["boxlist_resize"], rtol=1e-6, atol=0)
    assert_close(boxes.transpose(FLIP_LEFT_RIGHT).bbox, golden["boxlist_flip_lr"], rtol=0, atol=0)


@pytest.mark.golden
def test_top_bottom_flip_is_a_pixel_off_the_original(golden):
    """upstream: flip-top-bottom."""
    flipped = golden_boxes(golden).transpose(FLIP_TOP_BOTTOM).bbox
    offset = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert_close(flipped + offset, golden["boxlist_flip_tb"], rtol=1e-6, atol=0)


@pytest.mark.golden
def test_clipping_of_the_original(golden):
    boxes = BoxList(golden["iou_a"] * 2 - 100, (400, 300))
    assert_close(
        boxes.clip_to_image(remove_empty=False).bbox, golden["boxlist_clip"], rtol=0, atol=0
    )
    assert len(boxes.clip_to_image()) == golden["boxlist_clip_n"]
