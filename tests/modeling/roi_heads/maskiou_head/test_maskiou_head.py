"""The mask-IoU head on inputs of a few rois."""

import pytest
import torch

from maskrcnn_benchmark.modeling.roi_heads.head import MaskPrediction, MaskTargets, RoiInputs
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.feature_extractors import (
    MaskIoUFeatureExtractor,
)
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.loss import MaskIoULoss
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.maskiou_head import (
    ROIMaskIoUHead,
    attach_scores,
)
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.predictors import MaskIoUPredictor
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

SIDE = 4


def make_head():
    torch.manual_seed(0)
    extractor = MaskIoUFeatureExtractor(in_channels=3, conv_channels=(5, 6), pooled_side=SIDE // 2)
    predictor = MaskIoUPredictor(in_features=1024, num_classes=3)
    return ROIMaskIoUHead(feature_extractor=extractor, predictor=predictor, loss=MaskIoULoss())


def make_boxes(scores):
    boxes = BoxList([[1.0, 1.0, 6.0, 6.0]] * len(scores), (8, 8))
    boxes.add_field("scores", torch.tensor(scores))
    return boxes


def make_prediction(labels, targets=None):
    generator = torch.Generator().manual_seed(1)
    pooled = torch.rand(len(labels), 3, SIDE // 2, SIDE // 2, generator=generator)
    masks = torch.rand(len(labels), 1, SIDE, SIDE, generator=generator)
    return MaskPrediction(pooled, masks, torch.tensor(labels), targets)


def make_inputs(prediction, boxes):
    return RoiInputs([], boxes, extras={MaskPrediction: prediction})


def test_mask_scores_are_products_that_nothing_clamps():
    # UPSTREAM(unclamped-mask-scores): below 0 and above 1.
    detections = [make_boxes([0.5, 0.25]), make_boxes([]), make_boxes([1.0])]
    found = attach_scores(detections, torch.tensor([0.5, -0.5, 1.5]))
    assert [boxes.get_field("mask_scores").tolist() for boxes in found] == [
        [0.25, -0.125],
        [],
        [1.5],
    ]
    assert found[0].scores.tolist() == [0.5, 0.25]


def test_each_roi_gets_the_prediction_of_its_class():
    head = make_head().eval()
    head.predictor.maskiou.weight.data.zero_()
    head.predictor.maskiou.bias.data.copy_(torch.tensor([0.1, 0.5, 0.75]))
    inputs = make_inputs(make_prediction([2, 1]), [make_boxes([0.5]), make_boxes([0.5])])
    found, losses, _ = head(inputs)
    assert [boxes.get_field("mask_scores").item() for boxes in found] == pytest.approx(
        [0.375, 0.25]
    )
    assert losses == {}


def test_the_gradient_reaches_features_and_masks():
    # UPSTREAM(attached-inputs): neither input is detached.
    boxes = BoxList([[1.0, 1.0, 6.0, 6.0]], (8, 8))
    boxes.add_field("labels", torch.tensor([1]))
    targets = MaskTargets(
        proposals=[boxes],
        instances=[SegmentationMask([[[1, 1, 7, 1, 7, 7, 1, 7]]], (8, 8))],
        labels=boxes.labels,
        masks=torch.ones(1, SIDE, SIDE),
        indices=torch.tensor([0]),
    )
    prediction = make_prediction([1], targets)
    prediction.pooled.requires_grad_()
    prediction.masks.requires_grad_()
    output = make_head()(make_inputs(prediction, [boxes]))
    output.losses["loss_maskiou"].backward()
    assert output.boxes[0] is boxes
    assert prediction.pooled.grad.abs().sum() > 0
    assert prediction.masks.grad.abs().sum() > 0
