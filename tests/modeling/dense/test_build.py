"""Which proposal stage a configuration gets, and that every variant of FCOS learns and detects."""

import itertools

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetOutputs
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.structures.image_list import ImageList
from tests.factories import random_boxlist


def make_config(*options):
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.FCOS.NUM_CONVS", 1, *options])
    return cfg


@pytest.mark.parametrize(
    ("rpn_only", "fcos_on", "retinanet_on", "expected"),
    [
        (True, True, False, FCOSOutputs),
        (True, False, False, RPNOutputs),
        (False, True, False, RPNOutputs),  # two-stage files, which do not know FCOS_ON
        (False, False, False, RPNOutputs),
        *(
            (rpn_only, fcos_on, True, RetinaNetOutputs)
            for rpn_only in (True, False)
            for fcos_on in (True, False)
        ),
    ],
)
def test_flags_choose_the_stage(rpn_only, fcos_on, retinanet_on, expected):
    """upstream: fcos-needs-rpn-only"""
    flags = {"RPN_ONLY": rpn_only, "FCOS_ON": fcos_on, "RETINANET_ON": retinanet_on}
    options = [item for name, value in flags.items() for item in (f"MODEL.{name}", value)]
    with torch.device("meta"):
        stage = build_rpn(make_config(*options), in_channels=32)
    assert stage.outputs is expected


@pytest.mark.parametrize(
    "name",
    [
        "rpn_R_50_C4_1x",
        "rpn_R_50_FPN_1x",
        "rpn_R_101_FPN_1x",
        "rpn_X_101_32x8d_FPN_1x",
        "quick_schedules/rpn_R_50_C4_quick",
        "quick_schedules/rpn_R_50_FPN_quick",
    ],
)
def test_shipped_files_of_region_proposals_say_that_they_are_no_fcos(name):
    """upstream: fcos-needs-rpn-only"""
    cfg = get_default_config()
    cfg.merge_from_file(f"configs/{name}.yaml")
    assert cfg.MODEL.FCOS_ON is False
    with torch.device("meta"):
        assert build_rpn(cfg, in_channels=32).outputs is RPNOutputs


@pytest.mark.parametrize(
    ("head", "residual", "dense_points"),
    list(itertools.product(("FCOSHead", "FCOSSharedHead"), (False, True), (1, 4, 5))),
)
def test_every_variant_of_fcos_learns_and_detects(head, residual, dense_points):
    torch.manual_seed(0)
    cfg = make_config(
        *("MODEL.RPN_ONLY", True, "MODEL.NUM_CLASSES", 4, "MODEL.FCOS.INFERENCE_TH", 0.0),
        *("MODEL.FCOS.HEAD", head, "MODEL.FCOS.RESIDUAL_CONNECTION", residual),
        *("MODEL.FCOS.DENSE_POINTS", dense_points, "TEST.DETECTIONS_PER_IMG", 10),
    )
    stage = build_rpn(cfg, in_channels=32)
    images = ImageList(torch.zeros(2, 3, 96, 128), [(90, 120), (90, 120)])
    features = [torch.randn(2, 32, -(-96 // s), -(-128 // s)) for s in (8, 16, 32, 64, 128)]
    targets = [random_boxlist(3, seed=1), random_boxlist(0)]
    losses = stage(images, features, targets).losses
    sum(losses.values()).backward()
    # Boxes of at most 120 px leave P5 to P7, and so their scales, without positives.
    for name, parameter in stage.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name.startswith("head.scales."), name
    with torch.no_grad():
        detections = stage.eval()(images, features).boxes
    assert [len(boxes) for boxes in detections] == [10, 10]
