"""Layers and small classes, called with the arguments that scripts for the original give them."""

import numpy as np
import pytest
import torch
from torch import nn

from maskrcnn_benchmark import layers
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.fbnet import builder as fbnet_builder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.poolers import LevelMapper, LevelMapperwithArea, Pooler
from maskrcnn_benchmark.solver import WarmupMultiStepLR
from maskrcnn_benchmark.structures.bounding_box import BoxList

ROIS = torch.tensor([[0.0, 0, 0, 7, 7], [0, 2, 2, 5, 5]])


@pytest.mark.parametrize("num_images", [2, 0])
@pytest.mark.parametrize("name", fbnet_builder.PRIMITIVES)
def test_blocks_are_made_by_place(name, num_images):
    block = fbnet_builder.PRIMITIVES[name](16, 32, 4, 1)
    assert block(torch.rand(num_images, 16, 7, 7)).shape == (num_images, 32, 7, 7)


def test_an_identity_changes_what_it_must_only():
    features = torch.rand(10, 20, 7, 7)
    assert torch.equal(fbnet_builder.Identity(20, 20, 1)(features), features)
    assert fbnet_builder.Identity(20, 40, 2)(features).shape == (10, 40, 4, 4)


def test_rois_are_pooled_by_modules_and_functions():
    ramp = torch.arange(8.0).repeat(1, 1, 8, 1)
    for pooled in (
        layers.ROIAlign((2, 2), 1.0, 2)(ramp, ROIS),
        layers.ROIAlign(output_size=(2, 2), spatial_scale=1.0, sampling_ratio=2)(ramp, ROIS),
        layers.roi_align(ramp, ROIS, (2, 2), 1.0, 2),
    ):
        # The mean of a ramp over a bin is its value in the middle.
        expected = torch.tensor([[1.75, 5.25], [2.75, 4.25]])
        torch.testing.assert_close(pooled[:, 0, 0], expected)
    for pooled in (
        layers.ROIPool((2, 2), 1.0)(ramp, ROIS),
        layers.ROIPool(output_size=(2, 2), spatial_scale=1.0)(ramp, ROIS),
        layers.roi_pool(ramp, ROIS, (2, 2), 1.0),
    ):
        assert pooled[:, 0, 1].tolist() == [[3, 7], [3, 5]]
    assert layers.ROIAlign((2, 2), 1.0, 2)(ramp, ROIS[:0]).shape == (0, 1, 2, 2)


def test_deformable_convolutions_without_deformation_are_plain_ones():
    features, offsets = torch.rand(2, 8, 6, 6), torch.zeros(2, 18, 6, 6)
    plain = layers.Conv2d(8, 4, kernel_size=3, stride=1, padding=1, bias=False)
    first = layers.DeformConv(8, 4, 3, 1, 1)
    second = layers.ModulatedDeformConv(8, 4, kernel_size=3, stride=1, padding=1, bias=False)
    for module in (first, second):
        module.weight.data.copy_(plain.weight.data)
    expected = plain(features)
    torch.testing.assert_close(first(features, offsets), expected)
    ones = torch.ones(2, 9, 6, 6)
    torch.testing.assert_close(second(features, offsets, ones), expected)
    for module in (
        layers.DFConv2d(8, 4),
        layers.DFConv2d(8, 4, with_modulated_dcn=False, kernel_size=3, stride=1, groups=2),
    ):
        assert module(features).shape == (2, 4, 6, 6)
        assert module(features[:0]).shape == (0, 4, 6, 6)


def test_layers_take_batches_without_images():
    none = torch.rand(0, 3, 8, 8)
    assert layers.Conv2d(3, 4, 3)(none).shape == (0, 4, 6, 6)
    assert layers.ConvTranspose2d(3, 4, 2, 2, 0)(none).shape == (0, 4, 16, 16)
    assert layers.BatchNorm2d(3)(none).shape == none.shape
    assert layers.interpolate(none, scale_factor=2).shape == (0, 3, 16, 16)
    resized = layers.interpolate(none, size=(4, 5), mode="bilinear", align_corners=False)
    assert resized.shape == (0, 3, 4, 5)


def test_losses_by_hand():
    pred, target = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.5, 0.0]])
    assert layers.smooth_l1_loss(pred, target, beta=1).item() == pytest.approx(2.625 / 2)
    assert layers.smooth_l1_loss(pred, target, 1.0, False).item() == pytest.approx(2.625)
    assert layers.smooth_l1_loss(pred, target).item() == pytest.approx(3.5 / 2 - 1 / 18)
    focal = layers.SigmoidFocalLoss(2.0, 0.25)
    # One positive and one negative of probability 1/2.
    loss = focal(torch.zeros(1, 2), torch.tensor([1], dtype=torch.int32))
    assert loss.item() == pytest.approx((0.25 + 0.75) * 0.25 * np.log(2))
    ltrb = torch.ones(2, 4)
    for kind in ("iou", "linear_iou", "giou"):
        assert layers.IOULoss(kind)(ltrb, ltrb, torch.ones(2)).item() == pytest.approx(0, abs=1e-6)
        assert layers.IOULoss(kind)(ltrb, 2 * ltrb).item() > 0
    assert layers.Scale(init_value=2.0)(torch.ones(1)).item() == 2
    assert layers.FrozenBatchNorm2d(3)(torch.ones(1, 3, 2, 2)).sum() == 12


def test_boxes_are_suppressed_with_labels_of_any_type():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9]])
    scores = torch.tensor([0.5, 0.9, 0.7])
    assert layers.nms(boxes, scores, 0.5).tolist() == [1]
    for labels in (torch.tensor([1, 1, 2]), torch.tensor([1.0, 1.0, 2.0])):
        assert layers.ml_nms(boxes, scores, labels, 0.5).tolist() == [1, 2]
    assert layers.nms(boxes[:0], scores[:0], 0.5).shape == (0,)


def test_matches_and_samples():
    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=False)
    qualities = torch.tensor([[0.1, 0.5, 0.8], [0.2, 0.25, 0.1]])
    matches = matcher(qualities)
    assert matches.tolist() == [Matcher.BELOW_LOW_THRESHOLD, Matcher.BETWEEN_THRESHOLDS, 0]
    assert Matcher(0.7, 0.3, True)(qualities).tolist() == [-1, 0, 0]
    labels = torch.tensor([1, 1, 1, 0, 0, 0, -1])
    positive, negative = BalancedPositiveNegativeSampler(4, 0.5)([labels])
    chosen = torch.nonzero(positive[0] | negative[0]).squeeze(1)
    assert labels[chosen].tolist() == [1, 1, 0, 0]


def test_boxes_are_coded_and_decoded_again():
    coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    proposals, wanted = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[2.0, 0, 11, 19]])
    codes = coder.encode(wanted, proposals)
    torch.testing.assert_close(codes, torch.tensor([[2.0, 5.0, 0.0, 5 * np.log(2)]]).float())
    torch.testing.assert_close(coder.decode(codes, proposals), wanted)
    assert coder.decode(codes.repeat(1, 3), proposals).shape == (1, 12)


def test_rois_come_from_the_level_of_their_size():
    boxes = [BoxList([[0, 0, 31, 31], [0, 0, 447, 447]], (448, 448))]
    assert LevelMapper(2, 5)(boxes).tolist() == [0, 3]
    assert LevelMapper(2, 5, canonical_scale=224, canonical_level=4)(boxes).tolist() == [0, 3]
    assert LevelMapperwithArea(3, 5)(boxes).tolist() == [0, 2]
    scales = (0.25, 0.125, 0.0625, 0.03125)
    pooler = Pooler(output_size=(7, 7), scales=scales, sampling_ratio=2)
    maps = [torch.full((1, 1, int(448 * s), int(448 * s)), s) for s in scales]
    assert pooler(maps, boxes).amax(dim=(1, 2, 3)).tolist() == [0.25, 0.03125]


def test_the_learning_rate_warms_up_and_drops():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    scheduler = WarmupMultiStepLR(optimizer, [4, 6], 0.1, 1.0 / 3, 2, "linear")
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.1, 0.1, 0.01, 0.01])
    with pytest.raises(ValueError, match="ascend"):
        WarmupMultiStepLR(optimizer, [6, 4])
    with pytest.raises(ValueError, match="warmup_method"):
        WarmupMultiStepLR(optimizer, [4], warmup_method="none")
