"""Parts of models that scripts written for the original registered as their own."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.poolers import Pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.contract.source_tree import ROOT

TWO_STAGES = "e2e_mask_rcnn_fbnet.yaml"
LITE = "centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"


@pytest.fixture(autouse=True)
def _registries_of_their_own(monkeypatch):
    """What a test registers is gone after it."""
    for table in vars(registry).values():
        if isinstance(table, registry.Registry):
            monkeypatch.setattr(table, "_entries", dict(table._entries))


def trained(file, *settings):
    """The model of a file, with the gradients of a training step."""
    cfg = global_cfg.clone()
    cfg.merge_from_file(str(ROOT / "configs" / file))
    cfg.merge_from_list(["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8, *settings])
    cfg.merge_from_list(["MODEL.FCOS.INFERENCE_TH", 0.0, "MODEL.ROI_HEADS.SCORE_THRESH", 0.0])
    cfg.merge_from_list(["MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 5, "TEST.DETECTIONS_PER_IMG", 5])
    model = build_detection_model(cfg)
    target = BoxList([[5, 5, 50, 60]], (96, 64))
    target.add_field("labels", torch.tensor([1]))
    target.add_field("masks", SegmentationMask([[[5, 5, 50, 5, 50, 60]]], (96, 64)))
    sum(model([torch.rand(3, 64, 96)], [target]).values()).backward()
    assert all(parameter.grad is not None for parameter in model.roi_heads.parameters())
    return model


def detections(model):
    return model.eval()([torch.rand(3, 64, 96)])[0]


class OldExtractor(nn.Module):
    """The pooled maps through one convolution."""

    def __init__(self, cfg, in_channels, head):
        super().__init__()
        head_cfg = cfg.MODEL[head]
        side = head_cfg.POOLER_RESOLUTION
        self.pooler = Pooler(
            output_size=(side, side),
            scales=head_cfg.POOLER_SCALES,
            sampling_ratio=head_cfg.POOLER_SAMPLING_RATIO,
        )
        self.conv = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.out_channels = 8

    def forward(self, x, proposals):
        return self.conv(self.pooler(x, proposals))


def test_a_backbone_with_a_list_of_maps():
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 16, stride=16)

        def forward(self, x):
            return [self.conv(x)]

    @registry.BACKBONES.register("OldBody")
    def build(cfg):
        model = nn.Sequential(OrderedDict([("body", Body())]))
        model.out_channels = 16
        return model

    model = trained(TWO_STAGES, "MODEL.BACKBONE.CONV_BODY", "OldBody")
    assert model.backbone.body.conv.weight.grad.abs().sum() > 0
    assert len(detections(model)) >= 5


def test_a_proposal_head_that_needs_the_number_of_anchors():
    @registry.RPN_HEADS.register("OldHead")
    class OldHead(nn.Module):
        def __init__(self, cfg, in_channels, num_anchors):
            super().__init__()
            self.cls_logits = nn.Conv2d(in_channels, num_anchors, 1)
            self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, 1)

        def forward(self, x):
            return [self.cls_logits(each) for each in x], [self.bbox_pred(each) for each in x]

    model = trained(TWO_STAGES, "MODEL.RPN.RPN_HEAD", "OldHead")
    assert model.rpn.head.cls_logits.weight.grad.abs().sum() > 0
    assert len(detections(model)) >= 5


def test_a_box_head_of_classes_with_cfg_and_channels():
    @registry.ROI_BOX_FEATURE_EXTRACTORS.register("OldExtractor")
    def build(cfg, in_channels):
        return OldExtractor(cfg, in_channels, "ROI_BOX_HEAD")

    @registry.ROI_BOX_PREDICTOR.register("OldPredictor")
    class OldPredictor(nn.Module):
        def __init__(self, cfg, in_channels):
            super().__init__()
            num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
            self.cls_score = nn.Linear(in_channels, num_classes)
            self.bbox_pred = nn.Linear(in_channels, num_classes * 4)

        def forward(self, x):
            x = x.mean(dim=(2, 3))
            return self.cls_score(x), self.bbox_pred(x)

    model = trained(
        TWO_STAGES,
        *("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "OldExtractor"),
        *("MODEL.ROI_BOX_HEAD.PREDICTOR", "OldPredictor"),
    )
    with torch.no_grad():
        model.roi_heads.box.predictor.cls_score.weight.zero_()
        model.roi_heads.box.predictor.cls_score.bias.copy_(10.0 * (torch.arange(81) == 7))
    found = detections(model)
    is_confident = found.get_field("scores") > 0.9
    assert found.get_field("labels")[is_confident].unique().tolist() == [7]
    assert found.has_field("mask")


class OldMaskPredictor(nn.Module):
    """Logits of all classes from the features alone; class 1 is there, all others are not."""

    def __init__(self, cfg, in_channels):
        super().__init__()
        num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
        self.conv5_mask = nn.ConvTranspose2d(in_channels, 4, 2, 2)
        self.mask_fcn_logits = nn.Conv2d(4, num_classes, 1)
        nn.init.zeros_(self.mask_fcn_logits.weight)
        with torch.no_grad():
            self.mask_fcn_logits.bias.copy_(torch.arange(num_classes) == 1).sub_(0.5).mul_(100)

    def forward(self, x):
        return self.mask_fcn_logits(self.conv5_mask(x))


@pytest.mark.parametrize("file", [LITE, TWO_STAGES])
@pytest.mark.parametrize("gives_pooled", [False, True])
def test_a_mask_head_that_knows_nothing_of_labels(file, gives_pooled):
    @registry.ROI_MASK_FEATURE_EXTRACTORS.register("OldExtractor")
    class MaskExtractor(OldExtractor):
        def __init__(self, cfg, in_channels):
            super().__init__(cfg, in_channels, "ROI_MASK_HEAD")

        def forward(self, x, proposals):
            pooled = self.pooler(x, proposals)
            return (self.conv(pooled), pooled) if gives_pooled else self.conv(pooled)

    registry.ROI_MASK_PREDICTOR.register("OldPredictor", OldMaskPredictor)
    model = trained(
        file,
        *("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR", "OldExtractor"),
        *("MODEL.ROI_MASK_HEAD.PREDICTOR", "OldPredictor"),
    )
    found = detections(model)
    assert len(found) > 0
    is_first = found.get_field("labels") == 1
    masks = found.get_field("mask")
    assert torch.equal(masks.flatten(1).mean(dim=1).round() == 1, is_first)


def test_the_mask_iou_head_gets_the_pooled_maps_of_an_old_extractor():
    @registry.ROI_MASK_FEATURE_EXTRACTORS.register("OldExtractor")
    class MaskExtractor(OldExtractor):
        def __init__(self, cfg, in_channels):
            super().__init__(cfg, in_channels, "ROI_MASK_HEAD")

        def forward(self, x, proposals):
            pooled = self.pooler(x, proposals)
            return self.conv(pooled), pooled

    model = trained(
        "centermask/centermask_M_v2_FPN_1x.yaml",
        *("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR", "OldExtractor"),
    )
    with torch.no_grad():
        model.roi_heads.maskiou.predictor.maskiou.weight.zero_()
        model.roi_heads.maskiou.predictor.maskiou.bias.fill_(0.5)
    found = detections(model)
    assert torch.equal(found.get_field("mask_scores"), 0.5 * found.get_field("scores"))
    assert len(found) >= 5
