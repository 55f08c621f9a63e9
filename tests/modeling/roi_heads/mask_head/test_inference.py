import pytest
import torch

from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import Masker, attach_masks
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste_rules import LEGACY_PASTE
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks


def make_detections(labels):
    boxes = BoxList(torch.tensor([[2.0, 2.0, 9.0, 9.0]] * len(labels)).reshape(-1, 4), (16, 12))
    boxes.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    return boxes


def test_each_box_gets_its_probabilities():
    logits = torch.randn(3, 2, 2)
    detections = [make_detections([1, 3]), make_detections([]), make_detections([2])]
    results = attach_masks(detections, logits)
    assert [tuple(boxes.get_field("mask").shape) for boxes in results] == [
        (2, 1, 2, 2),
        (0, 1, 2, 2),
        (1, 1, 2, 2),
    ]
    torch.testing.assert_close(results[0].get_field("mask")[1, 0], logits[1].sigmoid())
    torch.testing.assert_close(results[2].get_field("mask")[0, 0], logits[2].sigmoid())
    assert not detections[0].has_field("mask")
    masks = results[0].predicted_masks
    assert isinstance(masks, BoxMasks)
    assert masks.rule == LEGACY_PASTE
    assert torch.equal(masks.boxes, detections[0].bbox)


def test_masker_fills_the_box_and_nothing_else():
    detections = BoxList(torch.tensor([[20.0, 10.0, 47.0, 37.0]]), (64, 50))
    (pasted,) = Masker(threshold=0.5, padding=1)([torch.ones(1, 1, 28, 28)], [detections])
    assert pasted.shape == (1, 1, 50, 64)
    assert pasted.dtype == torch.uint8
    rows, columns = torch.nonzero(pasted[0, 0], as_tuple=True)
    ends = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()])
    assert (ends - detections.bbox[0]).abs().max() <= 1  # corners are rounded towards zero
    assert pasted.sum() == (ends[2] - ends[0] + 1) * (ends[3] - ends[1] + 1)


def test_masker_takes_one_image_without_a_list():
    detections = make_detections([1, 2])
    (pasted,) = Masker()(torch.zeros(2, 1, 28, 28), detections)
    assert pasted.shape == (2, 1, 12, 16)
    assert pasted.sum() == 0


def test_a_threshold_below_zero_shows_the_probabilities():
    """Regression: every pixel of the box became 1."""
    detections = BoxList(torch.tensor([[20.0, 10.0, 47.0, 37.0]]), (64, 50))
    probabilities = torch.full((1, 1, 28, 28), 0.5)
    (pasted,) = Masker(threshold=-1, padding=0)([probabilities], [detections])
    assert pasted.dtype == torch.uint8
    assert pasted[0, 0, 10:38, 20:48].eq(127).all()  # 0.5 * 255 rounded down
    assert pasted.count_nonzero() == 28 * 28


def test_masks_are_squeezed_into_what_the_image_has_of_their_boxes():
    left_half = torch.zeros(1, 1, 28, 28)
    left_half[..., :14] = 1
    boxes = BoxList(torch.tensor([[-16.0, 0.0, 16.0, 8.0]]), (32, 8), pixel_offset=0)
    (outside,) = Masker()([left_half], boxes)
    (squeezed,) = Masker(clips=True)([left_half], boxes)
    assert outside.sum() == 0
    assert squeezed[0, 0, :, :8].all()
    assert squeezed.sum() == 8 * 8
    far = BoxList(torch.tensor([[40.0, 0.0, 50.0, 8.0]]), (32, 8), pixel_offset=0)
    (nothing,) = Masker(clips=True)([left_half], far)
    assert nothing.sum() == 0


def test_the_rule_may_be_another_than_that_of_the_boxes():
    probabilities = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[3.3, 2.7, 20.6, 11.2]])
    half_open = BoxList(corners, (32, 16), pixel_offset=0)
    (ours,) = Masker(paste="inclusive")(probabilities, half_open)
    assert torch.equal(ours, Masker()(probabilities, BoxList(corners, (32, 16)))[0])
    assert not torch.equal(ours, Masker()(probabilities, half_open)[0])


def test_half_open_boxes_show_probabilities_below_zero_too():
    boxes = BoxList(torch.tensor([[4.0, 2.0, 12.0, 10.0]]), (16, 12), pixel_offset=0)
    (shown,) = Masker(threshold=-1)(torch.full((1, 1, 28, 28), 0.5), boxes)
    assert shown[0, 0, 2:10, 4:12].eq(127).all()
    assert shown.count_nonzero() == 8 * 8


def test_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match=r"masks .*\b2\b.*boxes .*\b1\b"):
        Masker()([torch.zeros(0, 1, 28, 28)] * 2, [make_detections([])])
