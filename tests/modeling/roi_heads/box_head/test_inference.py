import pytest
import torch

from maskrcnn_benchmark.layers import nms
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import (
    BoxPostProcessor,
    BoxSelectionSettings,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.factories import random_boxes

SIZE_WH = (100, 80)
CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))


def select(probs, proposals, codes=None, **settings):
    probs = torch.tensor(probs) if isinstance(probs, list) else probs
    defaults = {"score_threshold": 0.05, "nms_threshold": 0.5, "detections_per_image": 100}
    processor = BoxPostProcessor(
        settings=BoxSelectionSettings(**defaults | settings), box_coder=CODER
    )
    if codes is None:
        codes = torch.zeros(len(probs), 4 * probs.shape[1])
    return processor(probs.log(), codes, proposals)


def boxlist(boxes):
    return BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)


def test_threshold_order_and_suppression_by_hand():
    proposals = boxlist([[0, 0, 19, 19], [0, 0, 19, 17], [50, 50, 69, 69]])
    probs = [[0.1, 0.6, 0.3], [0.04, 0.7, 0.26], [0.9, 0.04, 0.06]]
    (found,) = select(probs, [proposals])
    # Class 1: the second box suppresses the first. Class 2: the first suppresses the second. The
    # third box has 0.04 for class 1, below the threshold.
    assert found.labels.tolist() == [1, 2, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.7, 0.3, 0.06]))
    assert torch.equal(found.bbox, proposals.bbox[[1, 0, 2]])
    assert found.fields() == ["labels", "scores"]


def test_offsets_of_the_own_class_are_used_and_boxes_clipped():
    codes = torch.zeros(1, 12)
    codes[0, 4] = 10.0  # class 1: one width to the right
    codes[0, 9] = -10.0  # class 2: one height up, out of the image
    (found,) = select([[0.2, 0.4, 0.4]], [boxlist([[70, 10, 89, 29]])], codes)
    assert found.bbox.tolist() == [[90, 10, 99, 29], [70, 0, 89, 9]]


def test_shared_offsets_count_for_all_classes():
    codes = torch.tensor([[50.0, 50.0, 0, 0, 5.0, 0, 0, 0]])  # background's are of no account
    (found,) = select([[0.2, 0.4, 0.4]], [boxlist([[0, 0, 19, 19]])], codes)
    assert found.bbox.tolist() == [[10, 0, 29, 19]] * 2
    assert found.labels.tolist() == [1, 2]


def test_ties_at_the_cut_off_are_kept():
    proposals = boxlist([[20 * i, 0, 20 * i + 9, 9] for i in range(4)])
    probs = [[0.5, 0.5], [0.4, 0.6], [0.5, 0.5], [0.7, 0.3]]
    (found,) = select(probs, [proposals], detections_per_image=2)
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 0.6, 0.5]))
    assert len(select(probs, [proposals], detections_per_image=0)[0]) == 4


def reference(probs, boxes, num_classes):
    """Class by class, as Fast R-CNN does it."""
    rows = []
    for label in range(1, num_classes):
        inds = [i for i in range(len(boxes)) if probs[i, label] > 0.05]
        keep = nms(boxes[inds, label], probs[inds, label], 0.5).tolist() if inds else []
        rows += [(label, probs[inds[k], label], boxes[inds[k], label]) for k in keep]
    return rows


def test_equals_a_loop_over_classes():
    generator = torch.Generator().manual_seed(3)
    num_classes, proposals = 5, BoxList(random_boxes(40, SIZE_WH), SIZE_WH)
    probs = (2 * torch.randn(40, num_classes, generator=generator)).softmax(dim=1)
    codes = torch.randn(40, 4 * num_classes, generator=generator)
    (found,) = select(probs, [proposals], codes, detections_per_image=0)
    decoded = CODER.decode(codes, proposals.bbox).view(-1, 4)
    clipped = BoxList(decoded, SIZE_WH).clip_to_image(remove_empty=False).bbox
    rows = reference(probs, clipped.view(40, num_classes, 4), num_classes)
    assert found.labels.tolist() == [row[0] for row in rows]
    torch.testing.assert_close(found.scores, torch.stack([row[1] for row in rows]))
    torch.testing.assert_close(found.bbox, torch.stack([row[2] for row in rows]))


@pytest.mark.parametrize("num_first", [0, 1])
def test_images_without_proposals_or_detections_stay_in_place(num_first):
    proposals = [boxlist([[5, 5, 9, 9]] * num_first), boxlist([[0, 0, 19, 19]])]
    probs = [[0.99, 0.01]] * num_first + [[0.2, 0.8]]
    first, second = select(probs, proposals)
    assert len(first) == 0
    assert first.labels.dtype == torch.int64
    assert second.scores.tolist() == pytest.approx([0.8])


def test_no_gradient_flows_through_the_selection():
    logits = torch.zeros(2, 3, requires_grad=True)
    processor = BoxPostProcessor(settings=BoxSelectionSettings(0.05, 0.5, 100), box_coder=CODER)
    (found,) = processor(logits, torch.zeros(2, 12), [boxlist([[0, 0, 9, 9]] * 2)])
    assert not found.scores.requires_grad


def test_small_boxes_may_go_and_the_best_come_first():
    boxes = torch.tensor([[0.0, 0, 30, 30], [50, 50, 50.5, 70]])
    proposals = BoxList(boxes, SIZE_WH, pixel_offset=0)
    probs = [[0.1, 0.2, 0.7], [0.1, 0.0, 0.9]]
    (found,) = select(probs, [proposals], min_side=1.0, best_first=True)
    assert found.labels.tolist() == [2, 1]
    assert found.pixel_offset == 0
    (found,) = select(probs, [proposals], best_first=True)
    assert found.labels.tolist() == [2, 2, 1]
