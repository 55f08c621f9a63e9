"""The mask head: which boxes it runs on, how many at a time, and what that changes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers import SpatialAttention
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor
from maskrcnn_benchmark.modeling.roi_heads.head import MaskPrediction, RoiInputs
from maskrcnn_benchmark.modeling.roi_heads.mask_head.feature_extractors import (
    MaskRCNNFPNFeatureExtractor,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.loss import MaskTargetAssigner
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import ROIMaskHead
from maskrcnn_benchmark.modeling.roi_heads.mask_head.predictors import MaskRCNNC4Predictor
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.factories import elliptic_masks

NUM_CLASSES, SIDE = 4, 6  # side of the masks; features are half as wide


class BoxesAsFeatures(ROIFeatureExtractor):
    """A feature extractor whose maps depend on the box alone; remembers how many it saw."""

    def __init__(self):
        super().__init__(pooler=self.pool, out_channels=5)
        self.conv = nn.Conv2d(4, 5, kernel_size=1)
        self.num_seen = []

    def pool(self, features, proposals):
        boxes = torch.cat([boxes.bbox for boxes in proposals]) / 100
        self.num_seen.append(len(boxes))
        return boxes[:, :, None, None].expand(-1, -1, SIDE // 2, SIDE // 2)

    def encode(self, pooled):
        return self.conv(pooled)


def make_head():
    return ROIMaskHead(
        feature_extractor=BoxesAsFeatures(),
        predictor=MaskRCNNC4Predictor(in_channels=5, hidden_channels=6, num_classes=NUM_CLASSES),
        assigner=MaskTargetAssigner(matcher=Matcher(0.5, 0.5), mask_side=SIDE),
    )


def make_image():
    """Three proposals of which the first and the last match the two objects."""
    target = BoxList([[5, 5, 40, 40], [50, 20, 90, 60]], (100, 80))
    target.add_field("labels", torch.tensor([2, 3]))
    target.add_field("masks", elliptic_masks(target))
    proposals = BoxList([[6, 5, 40, 41], [0, 60, 30, 79], [52, 20, 90, 60]], (100, 80))
    proposals.add_field("labels", torch.tensor([1, 1, 1]))
    return proposals, target


def test_loss_and_gradients_are_those_of_running_on_all_proposals():
    """upstream: matched-only."""
    head = make_head()
    proposals, target = make_image()
    head(RoiInputs([], [proposals], [target])).losses["loss_mask"].backward()
    assert head.feature_extractor.num_seen == [2]
    ours = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}

    head.zero_grad()
    hidden = head.predictor.conv5_mask(head.feature_extractor([], [proposals])).relu()
    logits = head.predictor.mask_fcn_logits(hidden)
    matched, labels = torch.tensor([0, 2]), torch.tensor([2, 3])
    masks = head.assigner([proposals], [target]).masks
    F.binary_cross_entropy_with_logits(logits[matched, labels], masks).backward()
    assert head.feature_extractor.num_seen == [2, 3]
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, msg=name)


def test_without_a_match_the_loss_is_zero_with_a_graph():
    head = make_head()
    proposals, target = make_image()
    output = head(RoiInputs([], [proposals[1:2]], [target]))
    output.losses["loss_mask"].backward()
    assert output.losses["loss_mask"].item() == 0
    assert output.extras[MaskPrediction].masks.shape == (0, 1, SIDE, SIDE)
    assert all(not parameter.grad.any() for parameter in head.parameters())


def test_evaluation_keeps_all_boxes():
    head = make_head().eval()
    proposals, _ = make_image()
    output = head(RoiInputs([], [proposals]))
    assert output.losses == {}
    assert output.boxes[0].get_field("mask").shape == (3, 1, SIDE, SIDE)
    assert output.extras[MaskPrediction].targets is None


def make_boxes(number):
    boxes = BoxList(100 * torch.rand(number, 4), (100, 100))
    boxes.add_field("labels", torch.randint(1, NUM_CLASSES, (number,)))
    return boxes


@torch.no_grad()
@pytest.mark.parametrize("numbers", [(), (0,), (1,), (17,), (33, 0, 50), (200,)])
def test_many_boxes_get_the_masks_of_all_at_once_from_a_few_at_a_time(numbers):
    channels, side = 16, 14
    head = ROIMaskHead(
        feature_extractor=MaskRCNNFPNFeatureExtractor(
            pooler=Pooler((side, side), (1 / 8, 1 / 16), 2),
            in_channels=channels,
            conv_channels=(channels,),
            attention=SpatialAttention(),
        ),
        predictor=MaskRCNNC4Predictor(
            in_channels=channels, hidden_channels=channels, num_classes=NUM_CLASSES
        ),
        assigner=MaskTargetAssigner(matcher=Matcher(0.5, 0.5), mask_side=2 * side),
    ).eval()
    num_seen = []
    head.predictor.register_forward_hook(lambda _, given, __: num_seen.append(len(given[1])))
    maps = [torch.randn(len(numbers), channels, 100 // stride, 13) for stride in (8, 16)]
    images = [make_boxes(number) for number in numbers]
    output = head(RoiInputs(maps, images))
    assert sum(num_seen) == sum(numbers)
    assert max(num_seen) < 100
    none = torch.zeros(0, dtype=torch.int64)
    labels = torch.cat([none, *(boxes.get_field("labels") for boxes in images)])
    features = head.feature_extractor.extract(maps, images)
    expected = head.predictor(features.encoded, labels).sigmoid()[:, None]
    masks = [boxes.get_field("mask") for boxes in output.boxes]
    assert [len(each) for each in masks] == list(numbers)
    assert torch.equal(torch.cat([expected[:0], *masks]), expected)
    assert torch.equal(output.extras[MaskPrediction].masks, expected)
    assert torch.equal(output.extras[MaskPrediction].pooled, features.pooled)
