import math

import pytest
import torch

from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.mask_head.loss import (
    MaskTargetAssigner,
    mask_loss,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

SIZE_WH = (40, 40)


def make_target(boxes, labels):
    """Ground truth whose masks fill the left half of each box."""
    target = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)
    target.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    polygons = [
        [[x1, y1, (x1 + x2) / 2, y1, (x1 + x2) / 2, y2, x1, y2]] for x1, y1, x2, y2 in boxes
    ]
    target.add_field("masks", SegmentationMask(polygons, SIZE_WH))
    return target


def make_proposals(boxes):
    proposals = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)
    proposals.add_field("labels", torch.full((len(proposals),), 9))
    proposals.add_field("scores", torch.ones(len(proposals)))
    return proposals


def assign(proposals, targets):
    assigner = MaskTargetAssigner(matcher=Matcher(0.5, 0.5), mask_side=4)
    return assigner(proposals, targets)


def test_only_matching_proposals_remain_with_the_class_of_the_truth():
    target = make_target([[0, 0, 16, 16], [20, 20, 36, 36]], [3, 5])
    proposals = make_proposals([[20, 20, 36, 36], [0, 20, 16, 36], [0, 0, 16, 15]])
    result = assign([proposals], [target])
    assert result.labels.tolist() == [5, 3]
    assert result.proposals[0].bbox.tolist() == [[20, 20, 36, 36], [0, 0, 16, 15]]
    assert len(result.instances[0]) == 2


def test_mask_is_the_part_of_the_object_inside_the_box():
    target = make_target([[0, 0, 16, 16]], [1])
    result = assign([make_proposals([[0, 0, 16, 16]])], [target])
    expected = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(4, 4)
    assert torch.equal(result.masks[0], expected)


def test_images_without_truth_proposals_or_matches():
    targets = [
        make_target([], []),
        make_target([[0, 0, 9, 9]], [1]),
        make_target([[0, 0, 9, 9]], [1]),
    ]
    proposals = [
        make_proposals([[0, 0, 9, 9]]),
        make_proposals([]),
        make_proposals([[30, 30, 39, 39]]),
    ]
    result = assign(proposals, targets)
    assert [len(boxes) for boxes in result.proposals] == [0, 0, 0]
    assert result.masks.shape == (0, 4, 4)
    assert result.labels.dtype == torch.int64


def test_loss_by_hand():
    logits = torch.tensor([[[0.0, 2.0], [-2.0, 0.0]]])
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    expected = (2 * math.log(2) + 2 * math.log(1 + math.exp(-2))) / 4
    assert mask_loss(logits, masks).item() == pytest.approx(expected)


def test_loss_without_rois_is_zero_with_a_graph():
    logits = torch.zeros(0, 4, 4, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(0, 4, 4))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 4, 4)


def test_of_many_matches_some_are_drawn():
    target = make_target([[0, 0, 16, 16], [20, 20, 36, 36]], [3, 5])
    proposals = make_proposals([[20, 20, 36, 36]] * 6 + [[0, 20, 16, 36]])
    assigner = MaskTargetAssigner(matcher=Matcher(0.5, 0.5), mask_side=4, max_matches=2)
    result = assigner([proposals], [target])
    assert result.labels.tolist() == [5, 5]
    assert result.indices.tolist() == sorted(set(result.indices.tolist()) & set(range(6)))
    assert len(result.proposals[0]) == len(result.masks) == 2
    few = assigner([proposals[5:]], [target])
    assert few.indices.tolist() == [0]
