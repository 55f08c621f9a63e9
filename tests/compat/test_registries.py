"""Scripts go through the registries and build every entry with the default settings."""

import copy
from itertools import pairwise

import pytest
import torch

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.backbone import build_backbone  # noqa: F401  # enters backbones
from maskrcnn_benchmark.modeling.dense.build import build_rpn  # noqa: F401  # enters RPN heads
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import (
    build_roi_heads,  # noqa: F401  # enters heads
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.contract.source_tree import ROOT

# Where the default settings do not suit an entry, those of this file do.
BACKBONE_CONFIGS = {
    "R-50-FPN": "e2e_faster_rcnn_R_50_FPN_1x.yaml",
    "R-101-FPN": "e2e_faster_rcnn_R_101_FPN_1x.yaml",
    "R-152-FPN": "e2e_faster_rcnn_R_101_FPN_1x.yaml",
    "R-50-FPN-RETINANET": "retinanet/retinanet_R-50-FPN_1x.yaml",
    "R-101-FPN-RETINANET": "retinanet/retinanet_R-101-FPN_1x.yaml",
}
CHANNELS = 64
SMALL = ("FBNet", "MNV2-FPN-RETINANET", "R-50-C4", "V-19-eSE-FPN-RETINANET")


def default_cfg():
    return copy.deepcopy(global_cfg)


def entries(name):
    return sorted(getattr(registry, name).items())


def assert_each_alone(module, batch):
    """Every row of a batch gives what it gives alone, whatever the module returns; returns that."""

    def run(rows):
        results = module(rows)
        return results if isinstance(results, tuple | list) else [results]

    together, alone = run(batch), [run(row[None]) for row in batch]
    for index, result in enumerate(together):
        expected = torch.cat([each[index] for each in alone])
        # Other numbers of rows are added up in another order.
        atol = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=atol)
    return together


@torch.no_grad()
def run_backbone(name, builder, side):
    cfg = default_cfg()
    if name in BACKBONE_CONFIGS:
        cfg.merge_from_file(str(ROOT / "configs" / BACKBONE_CONFIGS[name]))
    backbone = builder(cfg)
    maps = assert_each_alone(backbone.eval(), torch.rand(2, 3, side, side + 32))
    assert all(each.shape[:2] == (2, backbone.out_channels) for each in maps)
    sides = [each.shape[2] for each in maps]
    assert all(next_one == (one + 1) // 2 for one, next_one in pairwise(sides))


@pytest.mark.parametrize("name", SMALL)
def test_small_backbones_run(name):
    run_backbone(name, registry.BACKBONES[name], 64)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "builder"), entries("BACKBONES"))
def test_all_backbones_run(name, builder):
    run_backbone(name, builder, 64)


@pytest.mark.parametrize(("name", "builder"), entries("RPN_HEADS"))
def test_rpn_heads_run(name, builder):
    num_anchors, num_levels = 10, 3
    head = builder(default_cfg(), CHANNELS, num_anchors)
    level = torch.rand(2, CHANNELS, 24, 32)
    outputs = head([level, 2 * level, level])
    assert [len(output) for output in outputs] == [num_levels] * 2
    for logits, deltas in zip(*outputs, strict=True):
        assert logits.shape == (2, num_anchors, 24, 32)
        assert deltas.shape == (2, num_anchors * 4, 24, 32)
    # One head for all levels.
    for first, second, third in outputs:
        assert torch.equal(first, third)
        assert not torch.equal(first, second)


EXTRACTORS = [
    (kind, name, builder)
    for kind in ("BOX", "MASK", "KEYPOINT")
    for name, builder in entries(f"ROI_{kind}_FEATURE_EXTRACTORS")
]


@pytest.mark.parametrize(("kind", "name", "builder"), EXTRACTORS)
def test_feature_extractors_run(kind, name, builder):
    cfg = default_cfg()
    channels = 1024 if "Conv5" in name else CHANNELS
    extractor = builder(cfg, channels).eval()
    boxes = BoxList([[1, 1, 100, 100], [5, 5, 80, 80], [2, 2, 30, 40]], [384, 512], "xyxy")
    maps = torch.rand(2, channels, 24, 32)
    features = extractor([maps], [boxes] * 2)
    assert features.shape[:2] == (6, extractor.out_channels)
    alone = [extractor([image[None]], [boxes]) for image in maps]
    torch.testing.assert_close(features, torch.cat(alone), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "builder"), entries("ROI_BOX_PREDICTOR"))
def test_box_predictors_run(name, builder):
    cfg = default_cfg()
    scores, deltas = assert_each_alone(builder(cfg, CHANNELS), torch.rand(2, CHANNELS, 1, 1))
    assert scores.shape == (2, cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES)
    assert deltas.shape == (2, cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES * 4)


@pytest.mark.parametrize(("name", "builder"), entries("ROI_MASK_PREDICTOR"))
def test_mask_predictors_give_a_map_for_each_class(name, builder):
    cfg = default_cfg()
    (logits,) = assert_each_alone(builder(cfg, CHANNELS), torch.rand(2, CHANNELS, 14, 14))
    assert logits.shape[:2] == (2, cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES)


@pytest.mark.parametrize(("name", "builder"), entries("ROI_KEYPOINT_PREDICTOR"))
def test_keypoint_predictors_run(name, builder):
    cfg = default_cfg()
    (logits,) = assert_each_alone(builder(cfg, CHANNELS), torch.rand(2, CHANNELS, 14, 14))
    assert logits.shape[:2] == (2, cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES)
