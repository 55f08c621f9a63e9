"""Every kind of detector with nothing to look at: no images, no objects, maps of a single cell."""

import math

import pytest
import torch

from maskrcnn_benchmark.config import ArchitectureSpec, Convention, get_default_config
from maskrcnn_benchmark.config.families import FAMILIES
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from tests.contract.source_tree import ROOT
from tests.factories import target_with_masks
from tests.modeling.detector.narrow import NARROW

DENSE = "MODEL.DENSE.SETTINGS"
SMALL = NARROW | {"MODEL.RESNETS.RES2_OUT_CHANNELS": 16, "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 32}
# Detector -> its file, and what makes it small beside SMALL.
DETECTORS = {
    "fcos": ("quickstart/centermask_lite_M_v2_FPN_quickstart", {"MODEL.MASKIOU_ON": True}),
    "rpn": ("rpn_R_50_FPN_1x", {}),
    "masks": ("e2e_mask_rcnn_R_50_FPN_1x", {}),
    "masks, one map": ("e2e_mask_rcnn_R_50_C4_1x", {}),
    "keypoints": ("e2e_keypoint_rcnn_R_50_FPN_1x", {}),
    "retinanet": ("retinamask/retinamask_R_50_FPN_ms_2x", {"MODEL.RETINANET.NUM_CONVS": 1}),
    "shapemask": ("shapemask/shapemask_R_50_FPN_640_2x", {f"{DENSE}.MASK_CHANNELS": 8}),
    "tensormask": (
        "tensormask/tensormask_R_50_FPN_1x",
        {f"{DENSE}.NUM_CONVS": 1, f"{DENSE}.MASK_CHANNELS": 8},
    ),
    "yolact": ("yolact/yolact_resnet50_550", {}),
    "yolact, re-scored": ("yolact/yolact_resnet50_550", {f"{DENSE}.MASKIOU_ON": True}),
}
detectors = pytest.mark.parametrize("name", DETECTORS)
SIDE, SIDE_TO_RESCORE, SIDE_OF_A_CELL = 64, 256, 4


def make_config(name):
    file, more = DETECTORS[name]
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / f"{file}.yaml")
    cfg.merge_from_list([item for pair in (SMALL | more).items() for item in pair])
    return cfg


@pytest.fixture(scope="module")
def models():
    """Those that were built, by name."""
    return {}


@pytest.fixture
def model(models, name):
    if name not in models:
        torch.manual_seed(0)
        models[name] = build_detection_model(make_config(name))
    return models[name]


@pytest.fixture
def side(name):
    """Of images that are large enough."""
    return SIDE_TO_RESCORE if name == "yolact, re-scored" else SIDE


def pixel_offset(name):
    own = ArchitectureSpec.from_config(make_config(name)).pixel_offset
    return Convention.from_config(make_config(name)).pixel_offset if own is None else own


def make_target(num_objects, side, offset):
    """Objects of class 1, with all that some detector learns."""
    target = target_with_masks(num_objects, (side, side), num_foreground=1)
    points = torch.full((num_objects, 17, 3), 2.0)
    points[..., :2] = target.bbox[:, None, :2]
    target.add_field("keypoints", PersonKeypoints(points, target.size))
    return target.with_pixel_offset(offset)


def train(model, side, targets):
    """Losses by name; a gradient has reached every parameter."""
    model.train().zero_grad(set_to_none=True)
    sizes = [(side, side)] * len(targets)
    losses = model(ImageList(torch.randn(len(targets), 3, side, side), sizes), targets)
    sum(losses.values()).backward()
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    assert [name for name, each in trained.items() if each.grad is None] == []
    assert all(each.grad.isfinite().all() for each in trained.values())
    return {name: loss.item() for name, loss in losses.items()}


def detect(model, num_images, side):
    images = ImageList(torch.randn(num_images, 3, side, side), [(side, side)] * num_images)
    with torch.no_grad():
        return model.eval()(images)


def test_every_family_is_here():
    specs = [ArchitectureSpec.from_config(make_config(name)) for name in DETECTORS]
    assert {spec.proposal for spec in specs} == set(FAMILIES)


@detectors
def test_no_images(model, side):
    losses = train(model, side, [])
    assert losses
    assert set(losses.values()) == {0}
    assert detect(model, 0, side) == []


@detectors
def test_no_objects(model, name, side):
    offset = pixel_offset(name)
    # A target without objects may lack all fields.
    bare = BoxList(torch.zeros(0, 4), (side, side), pixel_offset=offset)
    assert all(map(math.isfinite, train(model, side, [bare, bare]).values()))


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "yolact, re-scored"])
def test_maps_of_one_cell(model, name):
    offset = pixel_offset(name)
    targets = [make_target(count, SIDE_OF_A_CELL, offset) for count in (1, 0)]
    assert all(map(math.isfinite, train(model, SIDE_OF_A_CELL, targets).values()))
    for boxes in detect(model, 2, SIDE_OF_A_CELL):
        assert boxes.size == (SIDE_OF_A_CELL, SIDE_OF_A_CELL)
        assert boxes.bbox.isfinite().all()
