"""A head from outside the package: one class, its traits and its builder, and nothing else."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ArchitectureSpec, ConfigError, get_default_config
from maskrcnn_benchmark.config.roi_heads import ROI_HEAD_TRAITS, RoIHeadTraits
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.poolers import make_pooler
from maskrcnn_benchmark.modeling.registry import ROI_HEADS
from maskrcnn_benchmark.modeling.roi_heads.head import MaskPrediction, RoiInputs, RoiOutput
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.factories import target_with_masks

LITE = "configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"
SIZE_WH = (96, 64)


class FillHead(nn.Module):
    """Predicts how much of each box its object fills; keeps what the mask head left."""

    def __init__(self, *, pooler, in_channels):
        super().__init__()
        self.pooler = pooler
        self.fill = nn.Linear(in_channels, 1)
        self.left_by_mask_head = None

    def forward(self, inputs: RoiInputs) -> RoiOutput:
        self.left_by_mask_head = inputs.extras[MaskPrediction]
        boxes = inputs.boxes if inputs.targets is None else list(inputs.targets)
        pooled = self.pooler(inputs.features, boxes).mean(dim=(2, 3))
        fill = self.fill(pooled).squeeze(1)
        if inputs.targets is not None:
            return RoiOutput(inputs.boxes, {"loss_fill": (fill - 0.5).square().sum()})
        found = []
        for each, share in zip(boxes, fill.split([len(each) for each in boxes]), strict=True):
            found.append(each.copy_with_fields(each.fields()))
            found[-1].add_field("fill", share)
        return RoiOutput(found, {})


def build_fill_head(cfg, in_channels):
    return FillHead(pooler=make_pooler(cfg, "ROI_MASK_HEAD"), in_channels=in_channels)


@pytest.fixture
def cfg(monkeypatch):
    """CenterMask-Lite, in whose world there is the head."""
    for table in (ROI_HEADS, ROI_HEAD_TRAITS):
        monkeypatch.setattr(table, "_entries", dict(table._entries))
    ROI_HEADS.register("fill", build_fill_head)
    ROI_HEAD_TRAITS.register("fill", RoIHeadTraits(25, "FILL_ON", "mask", target_field="masks"))
    cfg = get_default_config()
    cfg.merge_from_file(LITE)
    cfg.merge_from_list(["MODEL.NUM_CLASSES", 4, "MODEL.MASKIOU_ON", True])
    cfg.MODEL.FILL_ON = True
    return cfg


def make_model(cfg):
    torch.manual_seed(0)
    model = build_detection_model(cfg)
    model.rpn.head.cls_logits.bias.data.fill_(0.0)  # detects something everywhere
    return model


def make_images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 50


def test_one_step_makes_its_own_loss_smaller(cfg):
    model = make_model(cfg).train()
    targets = [target_with_masks(2, SIZE_WH), BoxList(torch.zeros(0, 4), SIZE_WH)]
    head = model.roi_heads["fill"]
    losses = model(make_images(), targets)
    assert {"loss_mask", "loss_fill", "loss_maskiou"} < set(losses)
    assert head.left_by_mask_head.targets is not None
    losses["loss_fill"].backward()
    assert model.backbone.fpn.fpn_inner2.weight.grad.any()
    with torch.no_grad():
        head.fill.bias -= 0.1 * head.fill.bias.grad
        assert model(make_images(), targets)["loss_fill"] < losses["loss_fill"]


def test_its_field_is_in_the_detections(cfg):
    with torch.inference_mode():
        detections = make_model(cfg).eval()(make_images())
    for boxes in detections:
        assert len(boxes) > 0
        assert boxes.get_field("fill").shape == (len(boxes),)
        assert {"mask", "mask_scores"} < set(boxes.fields())


def test_its_place_is_that_of_its_traits(cfg):
    assert ArchitectureSpec.from_config(cfg).roi_heads == ("mask", "fill", "maskiou")
    assert list(make_model(cfg).roi_heads) == ["mask", "fill", "maskiou"]
    cfg.MODEL.FILL_ON = False
    assert list(make_model(cfg).roi_heads) == ["mask", "maskiou"]


def test_its_needs_are_checked(cfg):
    assert set(ArchitectureSpec.from_config(cfg).target_fields) == {"masks"}
    cfg.merge_from_list(["MODEL.MASK_ON", False, "MODEL.FCOS_MASK", False])
    cfg.merge_from_list(["MODEL.MASKIOU_ON", False])
    with pytest.raises(ConfigError, match=r"MODEL\.FILL_ON.*MODEL\.MASK_ON"):
        build_detection_model(cfg)


def test_settings_without_its_flag_are_as_before(cfg):
    del cfg.MODEL["FILL_ON"]
    assert ArchitectureSpec.from_config(cfg).roi_heads == ("mask", "maskiou")
